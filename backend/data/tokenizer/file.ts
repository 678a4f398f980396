/**
 * A tokenizer.json in memory: the parts that are used, checked once; the vocabulary as a map; and rewritten splits that the JavaScript
 * library gets wrong.
 */
import { userError } from '../../../protocol/errors.ts';
import { isRecord } from '../../../protocol/foreign.ts';
import type { FimRole } from '../prompts/fim.ts';

export type JsonObject = Record<string, unknown>;

export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
}

/** Ids by text (BPE), or text and score in the order of ids (Unigram). */
export type Vocabulary = ReadonlyMap<string, number> | readonly (readonly [string, number])[];

export interface TokenizerFile extends JsonObject {
  readonly added_tokens: readonly AddedToken[];
  readonly model: JsonObject & { readonly vocab: Vocabulary };
  readonly normalizer: JsonObject | null;
  readonly pre_tokenizer: JsonObject | null;
  readonly post_processor: JsonObject | null;
  readonly decoder: JsonObject | null;
}

/** What both kinds of model give: a tokenizer.json and the names of the special tokens. */
export interface TokenizerParts {
  readonly file: TokenizerFile;
  readonly config: JsonObject;
  readonly bosId: number | null;
  readonly eosIds: readonly number[];
  readonly chatTemplate: string | null;
  readonly namedTokens: Readonly<Record<string, string>>;
  /** Tokens for filling in the middle that the file names. */
  readonly fim: Partial<Readonly<Record<FimRole, number>>>;
}

// An id is an index into tables here. The largest real vocabularies have some 260,000 tokens.
const maxVocabulary = 2 ** 22;

export const isTokenId = (value: unknown): value is number =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) < maxVocabulary;

/** Checks what this project relies on; the rest is the library's. Throws `bad-tokenizer`. */
export function checkTokenizerFile(path: string, value: JsonObject): TokenizerFile {
  const bad = (what: string): Error =>
    userError('bad-tokenizer', `${path} is no sound tokenizer: ${what}.`, 'Get the file again.');
  const { model, added_tokens: added = [] } = value;
  if (!isRecord(model)) throw bad('it has no model');
  const vocab = vocabularyOf(model['vocab']);
  if (vocab === null) throw bad('its vocabulary is no map from text to ids');
  if (!Array.isArray(added) || !added.every(isAddedToken)) throw bad('its added tokens have no text or no id');
  for (const part of ['normalizer', 'pre_tokenizer', 'post_processor', 'decoder'])
    if (value[part] !== undefined && value[part] !== null && !isRecord(value[part]))
      throw bad(`its ${part} is no object`);
  return {
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: null,
    ...value,
    model: { ...model, vocab },
    added_tokens: added.map((token) => ({ ...token, special: token.special === true })),
  };
}

/** The same as JSON has it. */
export const tokenizerJson = (file: TokenizerFile): JsonObject => ({
  ...file,
  // fromEntries defines properties, so that a token named __proto__ is one like any other.
  model: { ...file.model, vocab: isPairs(file.model.vocab) ? file.model.vocab : Object.fromEntries(file.model.vocab) },
});

/** Text and id of each token of the model, added ones aside. */
export function eachToken({ model: { vocab } }: TokenizerFile, visit: (text: string, id: number) => void): void {
  if (isPairs(vocab)) for (let id = 0; id < vocab.length; id++) visit(vocab[id]![0], id);
  else vocab.forEach((id, text) => visit(text, id));
}

/** The id of a text that is a token, an added one before one of the model. */
export function idOfText({ model: { vocab }, added_tokens }: TokenizerFile, text: string): number | undefined {
  const added = added_tokens.findLast(({ content }) => content === text);
  if (added) return added.id;
  if (!isPairs(vocab)) return vocab.get(text);
  const place = vocab.findLastIndex(([each]) => each === text);
  return place < 0 ? undefined : place;
}

/** The regular expression of GPT-2's byte-level splitting, as the Rust library has it. */
export const gpt2Split = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

export const split = (pattern: string): JsonObject => ({
  type: 'Split',
  pattern: { Regex: pattern },
  behavior: 'Isolated',
  invert: false,
});

/**
 * The same file with two pre-tokenizers spelt as regular expressions, because the library's own versions differ from the Rust
 * ones: `Digits` sees ASCII digits only, and `ByteLevel` takes U+FEFF for a space and U+0085 for none.
 */
export const withExactSplits = (file: TokenizerFile): TokenizerFile => ({
  ...file,
  pre_tokenizer: file.pre_tokenizer === null ? null : exactSplit(file.pre_tokenizer),
});

function exactSplit(config: JsonObject): JsonObject {
  if (config['type'] === 'Sequence' && Array.isArray(config['pretokenizers']))
    return {
      ...config,
      pretokenizers: config['pretokenizers'].map((one: unknown) => (isRecord(one) ? exactSplit(one) : one)),
    };
  if (config['type'] === 'Digits') return split(config['individual_digits'] === true ? '\\p{N}' : '\\p{N}+');
  // A prefix space must come before the split, so that case stays the library's.
  if (config['type'] === 'ByteLevel' && config['use_regex'] !== false && config['add_prefix_space'] !== true)
    return { type: 'Sequence', pretokenizers: [split(gpt2Split), { ...config, use_regex: false }] };
  return config;
}

/** The steps of a part one after the other, those of sequences within sequences included. */
export function stepsOf(step: JsonObject | null, list: 'pretokenizers' | 'decoders'): JsonObject[] {
  if (step === null) return [];
  const inner = step[list];
  return Array.isArray(inner) ? inner.filter(isRecord).flatMap((each) => stepsOf(each, list)) : [step];
}

/** The same file for a text inside another, before which no blank is put; the file itself if it puts none. */
export function withoutPrefix(file: TokenizerFile): TokenizerFile {
  const normalizer = file.normalizer && bare(file.normalizer);
  const pre_tokenizer = file.pre_tokenizer && bare(file.pre_tokenizer);
  const isSame = normalizer === file.normalizer && pre_tokenizer === file.pre_tokenizer;
  return isSame ? file : { ...file, normalizer, pre_tokenizer };
}

/** A step that puts nothing before a text; itself if it puts nothing. */
function bare(step: JsonObject): JsonObject | null {
  const { type } = step;
  if (type === 'Prepend') return null;
  if (type === 'Metaspace' && step['prepend_scheme'] !== 'never') return { ...step, prepend_scheme: 'never' };
  if (type === 'ByteLevel' && step['add_prefix_space'] === true) return { ...step, add_prefix_space: false };
  for (const list of ['normalizers', 'pretokenizers']) {
    const inner = step[list];
    if (!Array.isArray(inner)) continue;
    const steps = inner.filter(isRecord);
    const made = steps.map(bare);
    if (made.some((each, i) => each !== steps[i])) return { ...step, [list]: made.filter((each) => each !== null) };
  }
  return step;
}

export const isPairs = (vocab: Vocabulary): vocab is Extract<Vocabulary, readonly unknown[]> => Array.isArray(vocab);

const isPair = (entry: unknown): entry is [string, number] =>
  Array.isArray(entry) && typeof entry[0] === 'string' && typeof entry[1] === 'number';

/** Null if it is none. */
function vocabularyOf(value: unknown): Vocabulary | null {
  if (Array.isArray(value)) return value.length <= maxVocabulary && value.every(isPair) ? value : null;
  if (!isRecord(value)) return null;
  const ids = new Map<string, number>();
  for (const text of Object.keys(value)) {
    const id = value[text];
    if (!isTokenId(id)) return null;
    ids.set(text, id);
  }
  return ids;
}

const isAddedToken = (value: unknown): value is AddedToken =>
  isRecord(value) && typeof value['content'] === 'string' && value['content'] !== '' && isTokenId(value['id']);
