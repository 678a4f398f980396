/**
 * The tokenizer in a GGUF file's metadata, rebuilt as a tokenizer.json: byte-level BPE (`gpt2`) with the pre-tokenizers of
 * llama.cpp (llama-vocab.cpp), and SentencePiece BPE (`llama`). Knows no model.
 */
import { userError } from '../../../protocol/errors.ts';
import type { GgufMetadata } from '../../formats/gguf-metadata.ts';
import { ggufKeys } from '../prompts/fim.ts';
import {
  gpt2Split,
  isTokenId,
  split,
  type AddedToken,
  type JsonObject,
  type TokenizerFile,
  type TokenizerParts,
} from './file.ts';

/** Throws `unsupported` for other kinds of tokenizers, `bad-tokenizer` if the metadata is damaged. */
export function ggufTokenizer(path: string, metadata: GgufMetadata): TokenizerParts {
  const kind = ggufTokenizerKind(path, metadata);
  const vocabulary = readVocabulary(path, metadata);
  const id = (name: string): number | null => {
    const value = metadata.get(`tokenizer.ggml.${name}_token_id`);
    return isTokenId(value) && value < vocabulary.texts.length ? value : null;
  };
  const bosId = id('bos');
  const shape = kind === 'gpt2' ? byteLevel(path, metadata, vocabulary) : sentencePiece(path, metadata, vocabulary);
  const addBos = flag(metadata, 'add_bos_token', shape.addsBos) && bosId !== null;
  const eosIds = [id('eos'), id('eot'), id('eom'), ...endMarkers(vocabulary)].filter((end) => end !== null);
  const template = metadata.get('tokenizer.chat_template');
  const named = (name: string, token: number | null): [string, string][] =>
    token === null ? [] : [[name, vocabulary.texts[token]!]];
  return {
    file: { ...shape.file, post_processor: addBos ? bosFirst(vocabulary.texts[bosId]) : null },
    config: {},
    bosId,
    eosIds: [...new Set(eosIds)],
    chatTemplate: typeof template === 'string' ? template : null,
    fim: namedFim(id),
    namedTokens: Object.fromEntries([
      ...named('bos_token', bosId),
      ...named('eos_token', id('eos')),
      ...named('unk_token', id('unknown')),
      ...named('pad_token', id('padding')),
    ]),
  };
}

/** The kind that the entries ahead of the vocabulary name. Throws `unsupported` for other kinds, and for unknown pre-tokenizers. */
export function ggufTokenizerKind(path: string, metadata: GgufMetadata): 'gpt2' | 'llama' {
  const kind = metadata.get('tokenizer.ggml.model');
  if (kind !== 'gpt2' && kind !== 'llama')
    throw userError(
      'unsupported',
      `${path} has a tokenizer of kind "${shown(kind)}", which is not supported.`,
      'Use a model with a "gpt2" or "llama" tokenizer, or its Hugging Face directory.',
    );
  if (kind === 'gpt2') preTokenizerOf(path, metadata);
  return kind;
}

/** Newer keys win over older ones. */
function namedFim(id: (name: string) => number | null): TokenizerParts['fim'] {
  const found = Object.entries(ggufKeys).map(([role, keys]) => [role, keys.map(id).find((each) => each !== null)]);
  return Object.fromEntries(found.filter(([, each]) => each !== undefined)) as TokenizerParts['fim'];
}

interface Vocabulary {
  readonly texts: readonly string[];
  readonly types: ArrayLike<number>;
  readonly added: readonly AddedToken[];
}

/** `addsBos`: whether a bos is added if the file does not say. */
interface Shape {
  readonly file: TokenizerFile;
  readonly addsBos: boolean;
}

/** enum llama_token_type. */
export const tokenTypes = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5 } as const;
const {
  normal: normalType,
  unknown: unknownType,
  control: controlType,
  userDefined: userDefinedType,
  unused: unusedType,
} = tokenTypes;

function readVocabulary(path: string, metadata: GgufMetadata): Vocabulary {
  const texts = metadata.get('tokenizer.ggml.tokens');
  if (!isStrings(texts) || !isTokenId(texts.length - 1))
    throw bad(path, 'it lists no tokens', 'Use the complete model file.');
  const types = metadata.get('tokenizer.ggml.token_type') ?? new Int32Array(texts.length).fill(normalType);
  if (!isNumbers(types) || types.length !== texts.length) throw bad(path, 'its token types do not fit its tokens');
  const added: AddedToken[] = [];
  for (const [id, type] of types.entries()) {
    const content = texts[id]!;
    const isAdded = type === controlType || type === userDefinedType || type === unknownType;
    if (isAdded && content !== '') added.push({ id, content, special: type !== userDefinedType });
  }
  return { texts, types, added };
}

// Tokens that end a turn or a text even if the file does not say so; as in llama.cpp, only if they are control tokens.
const endTexts = [
  '<|eot_id|>',
  '<|im_end|>',
  '<|end|>',
  '<end_of_turn>',
  '<|endoftext|>',
  '<|end_of_text|>',
  '<|eom_id|>',
  '<|return|>',
  '<|call|>',
];
function endMarkers({ added }: Vocabulary): number[] {
  const found = added.filter(({ content, special }) => special && endTexts.includes(content));
  // In a text of gpt-oss a message ends, and the next one begins, before the answer: only these two end the text.
  const hasMessages = ['<|return|>', '<|call|>'].every((text) => found.some(({ content }) => content === text));
  return found.filter(({ content }) => !hasMessages || content !== '<|end|>').map(({ id }) => id);
}

const contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const llama3Split = `${contractions}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
const qwen2Split = llama3Split.replace('\\p{N}{1,3}', '\\p{N}');
const upper = '[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]';
const lower = '[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]';
/** Words are split at a change of case, as by GPT-4o and Mistral's Tekken. */
const caseSplit = (ending: string, digits: string): string =>
  `[^\\r\\n\\p{L}\\p{N}]?${upper}*${lower}+${ending}|[^\\r\\n\\p{L}\\p{N}]?${upper}+${lower}*${ending}|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;

export interface PreTokenizer {
  readonly splits: readonly string[];
  /** A whole word that is a token is taken as it is, without merges. */
  readonly ignoreMerges?: boolean;
  readonly addsBos?: boolean;
}

const gpt2: PreTokenizer = { splits: [gpt2Split] };
const digitsThenGpt2: PreTokenizer = { splits: ['\\p{N}', gpt2Split] };
const llama3: PreTokenizer = { splits: [llama3Split], ignoreMerges: true, addsBos: true };
const dbrx: PreTokenizer = { splits: [llama3Split] };
const qwen2: PreTokenizer = { splits: [qwen2Split] };

/** By `tokenizer.ggml.pre`; of equal ones the first is written. */
export const preTokenizers: Readonly<Record<string, PreTokenizer | undefined>> = {
  default: { splits: ['[\\p{P}\\$\\+<=>\\^~\\|]+', gpt2Split, '\\p{N}+', '[0-9][0-9][0-9]'] },
  'gpt-2': gpt2,
  'phi-2': gpt2,
  mpt: gpt2,
  olmo: gpt2,
  jais: gpt2,
  exaone4: gpt2,
  trillion: gpt2,
  smollm: digitsThenGpt2,
  starcoder: digitsThenGpt2,
  refact: digitsThenGpt2,
  'command-r': digitsThenGpt2,
  codeshell: digitsThenGpt2,
  exaone: digitsThenGpt2,
  'minerva-7b': digitsThenGpt2,
  llama3,
  'llama-v3': llama3,
  'llama-bpe': llama3,
  falcon3: llama3,
  'falcon-h1': llama3,
  lfm2: llama3,
  pixtral: llama3,
  dbrx,
  'smaug-bpe': dbrx,
  glm4: dbrx,
  'chatglm-bpe': dbrx,
  qwen2,
  'deepseek-r1-qwen': qwen2,
  stablelm2: qwen2,
  hunyuan: qwen2,
  megrez: qwen2,
  falcon: { splits: ['[\\p{P}\\$\\+<=>\\^~\\|`]+', gpt2Split, '[0-9][0-9][0-9]'] },
  tekken: { splits: [caseSplit('', '\\p{N}')], ignoreMerges: true, addsBos: true },
  'gpt-4o': { splits: [caseSplit(`${contractions}?`, '\\p{N}{1,3}')] },
  llama4: { splits: [caseSplit(`${contractions}?`, '\\p{N}{1,3}')] },
};

function preTokenizerOf(path: string, metadata: GgufMetadata): PreTokenizer {
  const name = metadata.get('tokenizer.ggml.pre') ?? 'default';
  const pre = typeof name === 'string' && Object.hasOwn(preTokenizers, name) ? preTokenizers[name] : undefined;
  if (pre === undefined)
    throw userError(
      'unsupported',
      `${path} has the pre-tokenizer "${shown(name)}", which is not supported.`,
      'Use the model’s Hugging Face directory instead.',
    );
  return pre;
}

function byteLevel(path: string, metadata: GgufMetadata, vocabulary: Vocabulary): Shape {
  const pre = preTokenizerOf(path, metadata);
  const merges = metadata.get('tokenizer.ggml.merges');
  if (!isStrings(merges)) throw bad(path, 'it has no merges');
  return {
    addsBos: pre.addsBos ?? false,
    file: {
      ...fileOf(vocabulary),
      normalizer: null,
      pre_tokenizer: {
        type: 'Sequence',
        pretokenizers: [...pre.splits.map(split), { type: 'ByteLevel', add_prefix_space: false, use_regex: false }],
      },
      decoder: { type: 'ByteLevel' },
      model: {
        type: 'BPE',
        vocab: idsByText(vocabulary.texts),
        merges,
        ignore_merges: pre.ignoreMerges ?? false,
      },
    },
  };
}

function sentencePiece(path: string, metadata: GgufMetadata, vocabulary: Vocabulary): Shape {
  const scores = metadata.get('tokenizer.ggml.scores');
  if (!isNumbers(scores) || scores.length !== vocabulary.texts.length)
    throw bad(path, 'its scores do not fit its tokens');
  const unknown = vocabulary.added.find(({ id }) => vocabulary.types[id] === unknownType);
  const isPiece = (id: number): boolean => vocabulary.types[id] === normalType || vocabulary.types[id] === unusedType;
  const pieces = vocabulary.texts.filter((_, id) => isPiece(id));
  const prefix = flag(metadata, 'add_space_prefix', true);
  // If no piece continues after a space, no merge crosses one: words can be encoded, and remembered, one by one.
  const byWords = !pieces.some((piece) => /[^▁]▁/u.test(piece));
  const space = { type: 'Replace', pattern: { String: ' ' }, content: '▁' };
  return {
    addsBos: true,
    file: {
      ...fileOf(vocabulary, metadata.get('general.architecture') === 'phi3'),
      normalizer: prefix ? { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '▁' }, space] } : space,
      pre_tokenizer: byWords ? split('▁*[^▁]+|▁+') : null,
      decoder: {
        type: 'Sequence',
        decoders: [
          { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
          { type: 'ByteFallback' },
          { type: 'Fuse' },
          ...(prefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
        ],
      },
      model: {
        type: 'BPE',
        vocab: idsByText(vocabulary.texts),
        merges: mergesOf(vocabulary.texts, scores, isPiece),
        unk_token: unknown?.content ?? null,
        fuse_unk: true,
        byte_fallback: true,
      },
    },
  };
}

// In UTF-16 units. The time for all splits of a text grows with the square of its length: a hostile file would take half an hour.
const longestPiece = 256;

/**
 * SentencePiece merges two neighbours into the piece of the highest score; as ranked merges that is every split of every piece
 * into two pieces, best score first (Transformers' converter does the same). Texts too long for a piece get no merges.
 */
function mergesOf(
  texts: readonly string[],
  scores: ArrayLike<number>,
  isPiece: (id: number) => boolean,
): [string, string][] {
  const known = new Set(texts);
  const order = texts.map((_, id) => id).filter(isPiece);
  order.sort((a, b) => scores[b]! - scores[a]! || a - b);
  const merges: [string, string][] = [];
  for (const id of order) {
    const text = texts[id]!;
    if (text.length > longestPiece) continue;
    // By code points: half a surrogate pair is no piece.
    for (let cut = 0; cut < text.length;) {
      cut += text.codePointAt(cut)! > 0xffff ? 2 : 1;
      const left = text.slice(0, cut);
      const right = text.slice(cut);
      if (right !== '' && known.has(left) && known.has(right)) merges.push([left, right]);
    }
  }
  return merges;
}

/** The special tokens of Phi-3 that leave the blanks behind them. The others take them into the token, which a GGUF does not say. */
const keepsBlanks = new Set(['<unk>', '<s>', '<|endoftext|>']);

/** `takeBlanks`: special tokens take the blanks behind them, as those of Phi-3 do. */
const fileOf = ({ added }: Vocabulary, takeBlanks = false): { added_tokens: AddedToken[]; post_processor: null } => ({
  post_processor: null,
  added_tokens: added.map((token) => ({
    ...token,
    normalized: false,
    single_word: false,
    lstrip: false,
    rstrip: takeBlanks && token.special && !keepsBlanks.has(token.content),
  })),
});

const bosFirst = (bos: string | undefined): JsonObject => ({
  type: 'TemplateProcessing',
  single: [{ SpecialToken: { id: bos, type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
  pair: [],
});

function idsByText(texts: readonly string[]): Map<string, number> {
  const ids = new Map<string, number>();
  for (let id = 0; id < texts.length; id++) ids.set(texts[id]!, id);
  return ids;
}

const flag = (metadata: GgufMetadata, name: string, otherwise: boolean): boolean => {
  const value = metadata.get(`tokenizer.ggml.${name}`);
  return typeof value === 'boolean' ? value : otherwise;
};

const bad = (path: string, what: string, wayOut = 'Get the file again.'): Error =>
  userError('bad-tokenizer', `The tokenizer of ${path} is damaged: ${what}.`, wayOut);

const shown = (value: unknown): string => (typeof value === 'string' ? value.slice(0, 40) : 'none');

const isStrings = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.every((item) => typeof item === 'string');

const isNumbers = (value: unknown): value is Float32Array | Int32Array | Uint32Array =>
  ArrayBuffer.isView(value) && !(value instanceof DataView);
