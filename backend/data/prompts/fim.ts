/**
 * Prompts for the text between a prefix and a suffix, with the tokens that a model was trained with for it. Pure: knows ids and texts, no
 * file and no model. The layouts are those that Qwen2.5-Coder was taught (arXiv 2409.12186, section 3): a file by itself without names, and
 * several files behind theirs, as in llama.cpp's `/infill` (tools/server, format_prompt_infill).
 */
import { userError } from '../../../protocol/errors.ts';
import type { HealedPrompt } from './healing.ts';

/** Which of prefix and suffix comes first; the middle follows both. */
type FimOrder = 'prefix-first' | 'suffix-first';

export interface FimTokens {
  readonly prefix: number;
  readonly suffix: number;
  readonly middle: number;
  /** Tokens before a repository's name, and before a file's; null if the model has none. */
  readonly repository: number | null;
  readonly file: number | null;
  /** Tokens that end the middle. */
  readonly ends: readonly number[];
  readonly order: FimOrder;
}

export type FimRole = 'prefix' | 'suffix' | 'middle' | 'pad' | 'repository' | 'file';

/** Keys of a GGUF file; the second is how older files call it. */
export const ggufKeys: Readonly<Record<FimRole, readonly string[]>> = {
  prefix: ['fim_pre', 'prefix'],
  suffix: ['fim_suf', 'suffix'],
  middle: ['fim_mid', 'middle'],
  pad: ['fim_pad'],
  repository: ['fim_rep'],
  file: ['fim_sep'],
};

interface Family {
  readonly prefix: string;
  readonly suffix: string;
  readonly middle: string;
  readonly order?: FimOrder;
}

/** Names of the tokens, if a file does not name them. The first family that a vocabulary has all three tokens of is the model's. */
const families: readonly Family[] = [
  // Qwen2.5-Coder, CodeGemma.
  { prefix: '<|fim_prefix|>', suffix: '<|fim_suffix|>', middle: '<|fim_middle|>' },
  // StarCoder, StarCoder2, Granite.
  { prefix: '<fim_prefix>', suffix: '<fim_suffix>', middle: '<fim_middle>' },
  // SantaCoder, Refact.
  { prefix: '<fim-prefix>', suffix: '<fim-suffix>', middle: '<fim-middle>' },
  // DeepSeek-Coder.
  { prefix: '<｜fim▁begin｜>', suffix: '<｜fim▁hole｜>', middle: '<｜fim▁end｜>' },
  // CodeLlama.
  { prefix: '▁<PRE>', suffix: '▁<SUF>', middle: '▁<MID>' },
  { prefix: '<PRE>', suffix: '<SUF>', middle: '<MID>' },
  // GLM-4.5, Falcon-H1.
  { prefix: '<|code_prefix|>', suffix: '<|code_suffix|>', middle: '<|code_middle|>' },
  { prefix: '<|prefix|>', suffix: '<|suffix|>', middle: '<|middle|>' },
  // Seed-Coder.
  { prefix: '<[fim-prefix]>', suffix: '<[fim-suffix]>', middle: '<[fim-middle]>', order: 'suffix-first' },
];
const repositoryNames = ['<|repo_name|>', '<|fim_repo|>', '<repo_name>', '<reponame>', '<fim-repo>', '<REPO>'];
const fileNames = ['<|file_sep|>', '<|file_separator|>', '<file_sep>', '<filename>'];
const padNames = ['<|fim_pad|>', '<fim_pad>', '<fim-pad>', '<PAD>'];
const endNames = ['▁<EOT>', '<EOT>'];

/** The tokens of a model for filling in: those that its file names, then those known by name. Null if one of the three is missing. */
export function fimTokens(
  idOf: (text: string) => number | undefined,
  named: Partial<Readonly<Record<FimRole, number>>> = {},
): FimTokens | null {
  const family = families.find((each) =>
    [each.prefix, each.suffix, each.middle].every((name) => idOf(name) !== undefined),
  );
  const known = (role: 'prefix' | 'suffix' | 'middle'): number | undefined =>
    named[role] ?? (family && idOf(family[role]));
  const [prefix, suffix, middle] = [known('prefix'), known('suffix'), known('middle')];
  if (prefix === undefined || suffix === undefined || middle === undefined) return null;
  const first = (names: readonly string[]): number | null => names.map(idOf).find((id) => id !== undefined) ?? null;
  const repository = named.repository ?? first(repositoryNames);
  const file = named.file ?? first(fileNames);
  const ends = [named.pad ?? first(padNames), repository, file, first(endNames)].filter((id) => id !== null);
  return { prefix, suffix, middle, repository, file, ends, order: family?.order ?? 'prefix-first' };
}

/** The tokenizer as it is needed here. */
export interface FimTokenizer {
  /** Its file, for messages. */
  readonly path: string;
  readonly fim: FimTokens | null;
  /** The token that the model expects before a text; null if none. */
  readonly startId: number | null;
  /** Ids of a text in which special tokens are plain text; the second of one that is not the beginning of a text. */
  encodePlain(text: string): number[];
  encodeInside(text: string): number[];
  /** See `Tokenizer`. */
  heal(ids: readonly number[], fixed?: number): HealedPrompt;
}

/** The text around a gap, in tokens. */
export interface FimRequest {
  readonly prefix: readonly number[];
  readonly suffix: readonly number[];
  /** Text of other files, which comes first, in this order. */
  readonly chunks?: readonly { readonly file: string; readonly text: string }[];
  /** Names of the repository and the file of prefix and suffix. They are in the prompt only if `chunks` are. */
  readonly repository?: string | undefined;
  readonly file?: string | undefined;
  /** Most tokens of chunks and names, which lose their beginning. */
  readonly contextTokens?: number;
}

/** The names that llama.cpp gives if it gets none. */
const anyRepository = 'myproject';
const anyFile = 'filename';
const anyChunk = 'tmp';

/** Between chunks of a model that has no separator of files. */
const snippet = '\n\n--- snippet ---\n\n';

/**
 * The tokens of a prompt. If the model expects a token before each text, that comes first (llama.cpp puts it after the chunks).
 * @throws UserError `unsupported` for a model without tokens for filling in.
 */
export function fimPrompt(tokenizer: FimTokenizer, request: FimRequest): number[] {
  const fim = requireFim(tokenizer);
  const { prefix, suffix, contextTokens = Infinity } = request;
  const context = contextIds(tokenizer, fim, request);
  const before = [fim.prefix, ...prefix];
  const after = [fim.suffix, ...suffix];
  const parts = fim.order === 'prefix-first' ? [before, after] : [after, before];
  const start = tokenizer.startId === null ? [] : [tokenizer.startId];
  return [...start, ...context.slice(Math.max(0, context.length - contextTokens)), ...parts.flat(), fim.middle];
}

/**
 * The text that a prompt's continuation follows: in a prompt with a gap, what stands before the gap; otherwise the prompt itself. `fim`: the
 * model's tokens for filling in, if it has them.
 */
export function textBeforeGap(prompt: readonly number[], fim: FimTokens | null): readonly number[] {
  if (fim === null) return prompt;
  const middle = prompt.lastIndexOf(fim.middle);
  const suffix = prompt.lastIndexOf(fim.suffix, middle);
  const prefix = prompt.lastIndexOf(fim.prefix, middle);
  if (middle < 0 || suffix < 0 || prefix < 0) return prompt;
  const suffixEnd = prefix > suffix ? prefix : middle;
  return [...prompt.slice(0, suffix), ...prompt.slice(suffixEnd, middle), ...prompt.slice(middle + 1)];
}

/** @throws UserError `unsupported` for a model without tokens for filling in. */
export function requireFim({ fim, path }: FimTokenizer): FimTokens {
  if (fim !== null) return fim;
  throw userError(
    'unsupported',
    `The tokenizer of ${path} has no tokens for filling in the middle.`,
    'Take a model that was taught to, such as Qwen2.5-Coder, or continue the text before the gap alone.',
  );
}

/** The repository and its chunks, up to the name of the file that the gap is in; nothing without chunks. */
function contextIds(tokenizer: FimTokenizer, fim: FimTokens, request: FimRequest): number[] {
  const { chunks = [], repository = anyRepository, file = anyFile } = request;
  if (chunks.length === 0) return [];
  const headed = (token: number, name: string): number[] => [token, ...tokenizer.encodeInside(`${name}\n`)];
  const ids = fim.repository === null ? [] : headed(fim.repository, repository);
  for (const chunk of chunks) {
    const head =
      fim.file === null ? tokenizer.encodeInside(snippet) : headed(fim.file, chunk.file === '' ? anyChunk : chunk.file);
    ids.push(...head, ...tokenizer.encodeInside(chunk.text));
  }
  return fim.file === null ? ids : [...ids, ...headed(fim.file, file)];
}
