/**
 * The prompt that fills a gap. What changes least comes first, and parts that are too long are shortened in steps, so that most of a prompt
 * equals the last one. Pure; knows a tokenizer and no model.
 */
import type { CompletionLimits } from '../../../protocol/completion.ts';
import type { Around } from '../../../protocol/suggestion.ts';
import type { Begun } from './healing.ts';
import { fimPrompt, type FimRequest, type FimTokenizer } from './fim.ts';

/** The text around a gap, and text of other files, the closest to the gap last. */
export type PromptGap = Around & Pick<FimRequest, 'repository' | 'file' | 'chunks'>;
export type PromptLimits = Pick<CompletionLimits, 'prefixTokens' | 'suffixTokens' | 'chunkTokens' | 'maxTokens'>;
type Chunks = NonNullable<PromptGap['chunks']>;

export interface GapPrompt {
  readonly ids: readonly number[];
  /** Tokens of the prompt, with those that were taken off its end. */
  readonly tokens: number;
  /** The end of the text before the gap that is not in `ids`: the written text begins with it. */
  readonly begun: Begun | null;
  /** Whether it contains the text after the gap. */
  readonly fills: boolean;
  /** Tokens and texts that end a suggestion, beside the end of the text. */
  readonly ends: readonly number[];
  readonly stops: readonly string[];
  /** Given texts that are not, or only in part, in `ids`, in tokens: drafts may come from them; the closest to the gap is last. */
  readonly others: readonly (readonly number[])[];
}

/** A step in which a part is cut off, as a share of its budget. */
const stepShare = 1 / 4;
/** Tokens before and between the parts, and the first written one. */
const signs = 8;
/** Of the names that come with chunks, and around each. */
const namesTokens = 56;
const headTokens = 16;
/** Tokens of the lines that are being written, but for long ones. */
const mostFresh = 512;
/** The beginning of the middle moves by this number of lines at a time, and is at least as many lines before the cursor. */
const settledLines = 16;
/** Of a context that is too small for its budgets, the share that the suffix gets. */
const suffixShare = 1 / 4;

export function gapPrompt(
  tokenizer: FimTokenizer,
  gap: PromptGap,
  limits: PromptLimits,
  contextLength: number,
): GapPrompt {
  const room = Math.max(1, contextLength - limits.maxTokens - signs);
  return tokenizer.fim === null ? textBefore(tokenizer, gap, limits, room) : filling(tokenizer, gap, limits, room);
}

function filling(tokenizer: FimTokenizer, gap: PromptGap, limits: PromptLimits, room: number): GapPrompt {
  const { chunks: given = [], repository, file } = gap;
  const share = sharesOf(limits, room);
  const suffixIds = tokenizer.encodeInside(gap.suffix);
  const { settledIds, freshIds } = idsBefore(tokenizer, gap.prefix, share.fresh);
  const kept = steadyLength(settledIds.length, share.settled);
  const { chunks, left } = lastChunks(tokenizer, given, share.chunks);
  const around = fimPrompt(tokenizer, {
    prefix: settledIds.slice(settledIds.length - kept),
    suffix: suffixIds.slice(0, share.suffix),
    chunks,
    repository,
    file,
    contextTokens: share.chunks + namesTokens,
  });
  const whole = [...around, ...freshIds];
  // At a line's beginning nothing is begun, and a model that may spell the line's end anew likes to leave the line empty.
  const fixed = gap.prefix.endsWith('\n') ? whole.length : around.length;
  // If the line continues after the cursor, only the missing part of the line is written.
  const goesOn = /\w/.test(gap.suffix.split('\n', 1)[0]!);
  const others = [
    ...left.map(({ text }) => tokenizer.encodeInside(text)),
    ...(suffixIds.length > share.suffix ? [suffixIds] : []),
    ...(settledIds.length > kept ? [settledIds] : []),
  ];
  return {
    ...tokenizer.heal(whole, fixed),
    tokens: whole.length,
    fills: true,
    ends: tokenizer.fim!.ends,
    stops: goesOn ? ['\n'] : [],
    others,
  };
}

/** Most tokens of each part. What is being written has a share of its own, so that typing moves nothing else. */
function sharesOf({ prefixTokens, suffixTokens, chunkTokens }: PromptLimits, room: number) {
  const suffix = Math.min(suffixTokens, Math.floor(room * suffixShare));
  const before = Math.min(prefixTokens, room - suffix);
  const fresh = Math.floor(Math.max(before / 8, Math.min(before / 2, mostFresh)));
  const chunks = Math.min(chunkTokens, room - suffix - before - namesTokens);
  return { suffix, settled: before - fresh, fresh, chunks };
}

/** The text before the gap in two parts; of what is being written, all but the last `fresh` tokens is settled. */
function idsBefore(tokenizer: FimTokenizer, prefix: string, fresh: number) {
  const { settled, begun } = splitPrefix(prefix);
  // As CodeLlama was taught, a blank is put before the prefix alone (arXiv 2308.12950, section 2.3).
  const begunIds = tokenizer.encodeInside(begun);
  const from = begunIds.length - steadyLength(begunIds.length, fresh);
  return {
    settledIds: [...tokenizer.encodePlain(settled), ...begunIds.slice(0, from)],
    freshIds: begunIds.slice(from),
  };
}

/**
 * The last lines before the cursor, which are being written, come after the suffix, as the beginning of the middle: typing then appends to
 * a prompt and changes nothing in it, and a small model fills more lines than behind the suffix (docs/lab.md). After the SPM mode of arXiv
 * 2207.14255, section 3.1.
 */
export function splitPrefix(prefix: string): { settled: string; begun: string } {
  const lines = prefix.split('\n');
  const steps = Math.floor((lines.length - 1) / settledLines) - 1;
  const first = Math.max(0, steps * settledLines);
  const settled = lines
    .slice(0, first)
    .map((line) => `${line}\n`)
    .join('');
  return { settled, begun: prefix.slice(settled.length) };
}

/** A model that was not trained to fill in continues the text before; a blank line ends its text. */
function textBefore(tokenizer: FimTokenizer, gap: PromptGap, limits: PromptLimits, room: number): GapPrompt {
  const { chunks = [] } = gap;
  const text = tokenizer.encodePlain(gap.prefix === '' ? '\n' : gap.prefix);
  const kept = steadyLength(text.length, Math.min(limits.prefixTokens, room));
  const start = tokenizer.startId === null ? [] : [tokenizer.startId];
  const whole = [...start, ...text.slice(text.length - kept)];
  const beside = [...chunks.map((chunk) => chunk.text), gap.suffix].map((part) => tokenizer.encodeInside(part));
  const others = [...beside, ...(text.length > kept ? [text] : [])];
  return { ...tokenizer.heal(whole), tokens: whole.length, fills: false, ends: [], stops: ['\n\n'], others };
}

/** How many of the last tokens are kept: at most the budget, and the cut moves in steps while the text grows. */
export function steadyLength(total: number, budget: number): number {
  if (total <= budget) return total;
  const step = Math.max(1, Math.floor(budget * stepShare));
  return total - Math.ceil((total - budget) / step) * step;
}

/** The chunks for which there is room, of the closest one at least the end; `left`: those that are not there as a whole. */
function lastChunks(tokenizer: FimTokenizer, chunks: Chunks, budget: number): { chunks: Chunks; left: Chunks } {
  if (budget <= 0) return { chunks: [], left: chunks };
  const sizes = chunks.map(({ text }) => tokenizer.encodeInside(text).length + headTokens);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  let over = total - steadyLength(total, budget);
  let first = 0;
  while (over > 0 && first < sizes.length - 1) over -= sizes[first++]!;
  const isCut = (sizes[first] ?? 0) > budget;
  return { chunks: chunks.slice(first), left: chunks.slice(0, isCut ? first + 1 : first) };
}

/** The same tokenizer, which takes nothing off the end of a prompt. */
export const withoutHealing = (tokenizer: FimTokenizer): FimTokenizer => ({
  ...tokenizer,
  heal: (ids) => ({ ids, begun: null }),
});

/** The same tokenizer, which remembers the last texts: most of a prompt comes again. */
export const rememberingTokenizer = (tokenizer: FimTokenizer): FimTokenizer => ({
  path: tokenizer.path,
  fim: tokenizer.fim,
  startId: tokenizer.startId,
  heal: (ids, fixed) => tokenizer.heal(ids, fixed),
  encodePlain: remembering((text) => tokenizer.encodePlain(text)),
  encodeInside: remembering((text) => tokenizer.encodeInside(text)),
});

function remembering(encode: (text: string) => number[]): (text: string) => number[] {
  const known = new Map<string, number[]>();
  return (text) => {
    const ids = known.get(text) ?? encode(text);
    known.delete(text);
    known.set(text, ids);
    if (known.size > mostTexts) known.delete(known.keys().next().value!);
    return ids;
  };
}

const mostTexts = 64;
