/**
 * Text to token ids and back, for a Hugging Face directory or a GGUF file. Encoding is @huggingface/tokenizers'; decoding works on
 * each token's bytes, so that it never tidies spaces and can stream. Knows no model beyond its token ids.
 */
import { Tokenizer as Encoder } from '@huggingface/tokenizers';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { userError } from '../../../protocol/errors.ts';
import { isRecord } from '../../../protocol/foreign.ts';
import { readText, statOf } from '../../system/files.ts';
import { openGguf } from '../../formats/gguf.ts';
import { BytePairs } from './byte-pairs.ts';
import { stepEncoder, type StepEncoder } from './encoding.ts';
import { fimTokens, type FimTokens } from '../prompts/fim.ts';
import { ggufTokenizer } from './gguf.ts';
import { healed, type HealedPrompt } from '../prompts/healing.ts';
import { otherSpellings } from './spellings.ts';
import { finish, type Steps } from '../steps.ts';
import { leastIdsOf } from './token-length.ts';
import { decodeSteps, streamDecoder, tokenBytes, type StreamDecoder } from './token-bytes.ts';
import {
  checkTokenizerFile,
  idOfText,
  tokenizerJson,
  withExactSplits,
  withoutPrefix,
  type AddedToken,
  type JsonObject,
  type TokenizerFile,
  type TokenizerParts,
} from './file.ts';

export interface Tokenizer {
  /** Its file, for messages. */
  readonly path: string;
  /** Largest id + 1. A model's own vocabulary is often padded beyond it. */
  readonly vocabularySize: number;
  /** The same without added tokens: what ordinary text can produce. */
  readonly ordinarySize: number;
  readonly bosId: number | null;
  /** Any of these ends a generation; the model's own end of text or turn first. */
  readonly eosIds: readonly number[];
  /** The token between documents in training text: the end-of-text token if there is one, else the first of `eosIds`. */
  readonly separatorId: number | null;
  readonly chatTemplate: string | null;
  /** `bos_token`, `eos_token` … by the names that chat templates use. */
  readonly namedTokens: Readonly<Record<string, string>>;
  /** Special tokens in the text are recognised. `addSpecial` (default true) adds what the model expects around a text, often a bos. */
  encode(text: string, options?: EncodeOptions): number[];
  /** Ids of a text in which special tokens are plain text, as in a user's file; nothing is added around it. */
  encodePlain(text: string): number[];
  /** The same of a text inside another, such as what follows a gap: no blank is put before it (SentencePiece). */
  encodeInside(text: string): number[];
  /** All three in steps of a few milliseconds, for a long text: yields how many ids there are so far. */
  encodeSteps(text: string, options?: EncodeOptions): Steps<number[], number>;
  encodePlainSteps(text: string): Steps<number[], number>;
  encodeInsideSteps(text: string): Steps<number[], number>;
  /** The fewest ids that a text of this length can have; 0 if no bound follows from its length. */
  leastIds(text: string): number;
  /** The token before each text; null if there is none. */
  readonly startId: number | null;
  /** The model's tokens for filling in the middle; null if it has none. */
  readonly fim: FimTokens | null;
  /** The text of a whole sequence, special tokens included; U+FFFD for invalid UTF-8, nothing for ids without a token. */
  decode(ids: ArrayLike<number>): string;
  decodeSteps(ids: ArrayLike<number>): Steps<string>;
  /** The text of one token alone; U+FFFD if it is a part of a character. */
  tokenText(id: number): string;
  /**
   * If a prompt ends in blanks or inside a word, takes it back to the beginning of its last tokens; see prompts/healing.ts. `fixed`: how many of
   * the first tokens stay, by default one.
   */
  heal(ids: readonly number[], fixed?: number): HealedPrompt;
  /** The bytes of a token in UTF-8; a character may span several tokens. */
  tokenBytes(id: number): Uint8Array;
  /** Whether a token's text is its spelling: an ordinary one, or an added one that is not special. */
  isText(id: number): boolean;
  /** The tokens that spell a token's word otherwise, with another sign or blank before it or other capitals: spellings.ts. */
  readonly spellings: (id: number) => readonly number[];
  /** A hash of all that decides which ids a text or a conversation gets. */
  fingerprint(): string;
  /** Decodes a continuation token by token; text comes out only as whole characters. */
  decoder(): StreamDecoder;
}

export interface EncodeOptions {
  readonly addSpecial?: boolean;
}

/**
 * Loads the tokenizer of a model: a Hugging Face directory (or a file within it), or a GGUF file.
 * Throws `not-found`, `bad-tokenizer` or `unsupported`.
 */
export function loadTokenizer(modelPath: string): Tokenizer {
  const stat = statOf(modelPath);
  if (stat === null)
    throw userError('not-found', `There is no model at ${modelPath}.`, 'Give a Hugging Face directory or a GGUF file.');
  if (stat.isDirectory()) return fromDirectory(modelPath);
  if (modelPath.endsWith('.safetensors') || modelPath.endsWith('.json')) return fromDirectory(dirname(modelPath));
  const gguf = openGguf(modelPath);
  try {
    return build(modelPath, ggufTokenizer(modelPath, gguf.metadata));
  } finally {
    gguf.close();
  }
}

/**
 * Throws `bad-tokenizer` if ordinary tokens lie beyond the vocabulary of the model. Added tokens may: some models ship markers for which
 * their text part has no row.
 */
export function checkVocabulary(tokenizer: Tokenizer, model: string, vocabulary: number): void {
  if (tokenizer.ordinarySize > vocabulary)
    throw userError(
      'bad-tokenizer',
      `The tokenizer ${tokenizer.path} has ${tokenizer.ordinarySize} tokens, but ${model} has a vocabulary of ${vocabulary}.`,
      'Use the tokenizer that belongs to the model.',
    );
}

const fromDirectory = (directory: string): Tokenizer => {
  const { path, parts } = directoryTokenizer(directory);
  return build(path, parts);
};

/** Contents of the files of a Hugging Face directory. Throws `not-found` or `bad-tokenizer`. */
export function directoryTokenizer(directory: string): { readonly path: string; readonly parts: TokenizerParts } {
  const path = join(directory, 'tokenizer.json');
  if (!existsSync(path))
    throw userError(
      'not-found',
      `${directory} has no tokenizer.json.`,
      'Get the model’s tokenizer.json, or save it with Transformers: AutoTokenizer.from_pretrained(…).save_pretrained(…).',
    );
  const file = checkTokenizerFile(path, readObject(path));
  const config = readOptional(join(directory, 'tokenizer_config.json'));
  const model = readOptional(join(directory, 'config.json'));
  const generation = readOptional(join(directory, 'generation_config.json'));
  const namedTokens = tokensOf(config);
  const idOf = (name: string): number | null => idOfText(file, namedTokens[name] ?? '') ?? null;
  const ends = [idOf('eos_token'), ...numbers(generation['eos_token_id']), ...numbers(model['eos_token_id'])];
  const parts: TokenizerParts = {
    file,
    config,
    bosId: idOf('bos_token') ?? numbers(generation['bos_token_id'] ?? model['bos_token_id'])[0] ?? null,
    eosIds: [...new Set(ends.filter((id) => id !== null))],
    chatTemplate: templateOf(directory, config),
    namedTokens,
    fim: {},
  };
  return { path, parts };
}

function build(path: string, parts: TokenizerParts): Tokenizer {
  const { file, bosId, eosIds, chatTemplate, namedTokens } = parts;
  let encoder: StepEncoder;
  try {
    encoder = encoderOf(file, parts.config);
  } catch (error) {
    throw unusable(path, error);
  }
  const bytes = tokenBytes(path, file);
  const fim = fimTokens((text) => idOfText(file, text), parts.fim);
  const plainly = plainEncoder(parts, fim, () => encoder);
  const inside = insideEncoder(parts, fim) ?? plainly;
  const encodeSteps = (text: string, { addSpecial = true }: EncodeOptions = {}): Steps<number[], number> =>
    checked(path, encoder, text, addSpecial);
  const encodePlainSteps = (text: string): Steps<number[], number> => checked(path, plainly(text), text, false);
  const encodeInsideSteps = (text: string): Steps<number[], number> => checked(path, inside(text), text, false);
  const encodeText = (text: string, options?: EncodeOptions): number[] => finish(encodeSteps(text, options));
  const textDecoder = new TextDecoder('utf-8', { ignoreBOM: true });
  const tokenText = (id: number): string => textDecoder.decode(bytes.of(id));
  const index = {
    bytesOf: (id: number) => bytes.of(id),
    fitting: (beginning: Uint8Array) => bytes.fitting(beginning),
    isOrdinary: (id: number) => bytes.isOrdinary(id),
  };
  return {
    path,
    vocabularySize: bytes.size,
    ordinarySize: bytes.ordinarySize,
    bosId,
    eosIds,
    separatorId: separatorOf(file) ?? eosIds[0] ?? null,
    chatTemplate,
    namedTokens,
    encode: encodeText,
    encodePlain: (text) => (text === '' ? [] : finish(encodePlainSteps(text))),
    encodeInside: (text) => finish(encodeInsideSteps(text)),
    encodeSteps,
    encodePlainSteps,
    encodeInsideSteps,
    leastIds: leastIdsOf(file, bytes),
    startId: bosId !== null && encodeText('a')[0] === bosId ? bosId : null,
    fim,
    decode: (ids) => finish(decodeSteps(bytes, ids)),
    decodeSteps: (ids) => decodeSteps(bytes, ids),
    tokenText,
    spellings: (id) => (bytes.isOrdinary(id) ? otherSpellings(tokenText(id), bytes.idOf) : []),
    fingerprint: () =>
      createHash('sha256')
        .update(JSON.stringify([tokenizerJson(file), chatTemplate, namedTokens, eosIds]))
        .digest('hex'),
    decoder: () => streamDecoder(bytes),
    tokenBytes: (id) => bytes.of(id),
    isText: (id) => bytes.isText(id),
    heal: (ids, fixed) => healed(ids, index, fixed),
  };
}

/** @throws what the library throws for a file that it cannot read. */
function encoderOf(file: TokenizerFile, config: JsonObject): StepEncoder {
  const json = withExactSplits(file);
  if (file.model['type'] !== 'BPE') return stepEncoder(new Encoder(tokenizerJson(json), config));
  const model = new BytePairs(file.model);
  const encoder = new Encoder({ ...json, model: model.config }, config);
  encoder.model = model;
  return stepEncoder(encoder);
}

/**
 * The encoder that takes special tokens of a text for plain text. For texts without any it is the ordinary one, since building a second
 * takes as long as the first.
 */
function plainEncoder(
  { file, config }: TokenizerParts,
  fim: FimTokens | null,
  ordinary: () => StepEncoder,
): (text: string) => StepEncoder {
  const fimIds = new Set(fim && [fim.prefix, fim.suffix, fim.middle, ...fim.ends]);
  const isMarker = ({ id, special }: AddedToken): boolean => special || fimIds.has(id);
  const markers = file.added_tokens.filter(isMarker).map(({ content }) => content);
  let plain: StepEncoder | null = null;
  return (text) => {
    if (!markers.some((marker) => text.includes(marker))) return ordinary();
    const added = file.added_tokens.filter((token) => !isMarker(token));
    return (plain ??= encoderOf({ ...file, added_tokens: added }, config));
  };
}

/** The same for a text inside another, made on demand; null if the tokenizer puts nothing before a text. */
function insideEncoder(parts: TokenizerParts, fim: FimTokens | null): ((text: string) => StepEncoder) | null {
  const file = withoutPrefix(parts.file);
  if (file === parts.file) return null;
  let encoder: StepEncoder | null = null;
  return plainEncoder({ ...parts, file }, fim, () => (encoder ??= encoderOf(file, parts.config)));
}

/** @throws UserError for a text that has no ids, or a tokenizer that cannot be used. */
function* checked(path: string, encoder: StepEncoder, text: string, addSpecial: boolean): Steps<number[], number> {
  let ids: (number | undefined)[];
  try {
    ids = yield* encoder(text, addSpecial);
  } catch (error) {
    throw unusable(path, error);
  }
  if (ids.includes(undefined))
    throw userError('bad-tokenizer', `${path} has no token for a part of the text, and no unknown token.`);
  return ids as number[];
}

const unusable = (path: string, error: unknown): Error =>
  userError(
    'bad-tokenizer',
    `The tokenizer of ${path} cannot be used: ${reasonOf(error)}.`,
    'Use the tokenizer that belongs to the model.',
    error,
  );

/** The library takes the kinds of a file's values for granted, and its errors help no user. */
function reasonOf(error: unknown): string {
  if (error instanceof TypeError || error instanceof RangeError) return 'values in it are of the wrong kind';
  return error instanceof Error ? error.message : String(error);
}

// In the order of preference; they count only if they are special tokens.
const endOfText = ['<|endoftext|>', '<|end_of_text|>', '<eos>', '<|end▁of▁sentence|>', '</s>'];

function separatorOf(file: TokenizerFile): number | null {
  const special = new Map(file.added_tokens.filter((token) => token.special).map(({ content, id }) => [content, id]));
  const found = endOfText.find((text) => special.has(text));
  return found === undefined ? null : special.get(found)!;
}

/** `xxx_token` entries of a tokenizer_config.json: a string, or an object with `content`. */
function tokensOf(config: JsonObject): Record<string, string> {
  return Object.fromEntries(
    Object.entries(config).flatMap(([key, value]) => {
      const text = isRecord(value) ? value['content'] : value;
      return key.endsWith('_token') && typeof text === 'string' ? [[key, text]] : [];
    }),
  );
}

function templateOf(directory: string, config: JsonObject): string | null {
  const file = join(directory, 'chat_template.jinja');
  if (existsSync(file)) return readText(file);
  const value = config['chat_template'] ?? readOptional(join(directory, 'chat_template.json'))['chat_template'];
  if (typeof value === 'string') return value;
  // Several by name: the one for plain conversations.
  const named: unknown = Array.isArray(value)
    ? value.find((entry: unknown) => isRecord(entry) && entry['name'] === 'default')
    : undefined;
  const template = isRecord(named) ? named['template'] : undefined;
  return typeof template === 'string' ? template : null;
}

const numbers = (value: unknown): number[] =>
  (Array.isArray(value) ? value : [value]).filter(
    (id): id is number => Number.isSafeInteger(id) && (id as number) >= 0,
  );

const readOptional = (path: string): JsonObject => (existsSync(path) ? readObject(path) : {});

function readObject(path: string): JsonObject {
  const text = readText(path);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw userError('bad-tokenizer', `${path} is not JSON.`, 'Get the file again.', cause);
  }
  if (!isRecord(value)) throw userError('bad-tokenizer', `${path} does not hold a JSON object.`, 'Get the file again.');
  return value;
}
