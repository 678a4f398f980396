/** The texts of a calibration: their beginnings, and the full model's continuations, with every exit's predictions. */
import { setImmediate } from 'node:timers/promises';
import { userError } from '../../../protocol/errors.ts';
import type { CalibrateEvent } from '../../../protocol/events.ts';
import { plural } from '../../../protocol/plural.ts';
import type { Tokenizer } from '../../data/tokenizer/tokenizer.ts';
import { observeExits, type Position } from '../../decoding/leaving/observe.ts';
import type { Guarantee } from './promise.ts';
import type { Windows } from '../../features/features.ts';
import type { StagedModel } from '../../runtime/staged-model.ts';

/** How long a calibration may take, in seconds. */
export interface TimeLimit {
  /** More text, bolder thresholds and more timed texts, which a calibration could do without, end within these. */
  readonly planned: number;
  /** What the promise needs may take these, at least as many: a busy machine takes longer than planned. */
  readonly most: number;
}

export const noTimeLimit: TimeLimit = { planned: Infinity, most: Infinity };

export interface CalibrationRequest extends Guarantee {
  /** Tokens to calibrate on, at least; null: the usual number. */
  readonly tokens: number | null;
  readonly time: TimeLimit;
}

/** Length of the prompts, which are pieces of held-out text, and of the model's continuations. */
export const promptTokens = 48;
/** Tokens before a text by which thresholds are chosen: enough for hints, of which the text itself has few; reading them takes time. */
export const choosingContext = 128;
export const newTokens = 64;
/** The same where there is too little held-out text for more prompts, at most. */
export const mostNewTokens = 256;
/** Prompts written on at once, at most. */
export const largestBatch = 32;
/** The same if the time is limited: smaller batches allow to stop at more points. */
export const timedBatch = largestBatch / 2;

/** The time that the rest of a calibration takes, the fewest tokens that it needs, and the number that is wanted. */
export interface Pace {
  /** Seconds since it began. */
  readonly elapsed: () => number;
  /** Seconds of the work after these texts that the promise needs, if a token takes `aToken` seconds, prompts apart. */
  readonly behind: (aToken: number) => number;
  /** The same of all work that follows if there is time. */
  readonly usuallyBehind: (aToken: number) => number;
  readonly fewest: number;
  readonly wanted: number;
}

/**
 * The full model's texts with the exits' predictions, until there are as many tokens as wanted or the time is over. Only these two decide
 * when to stop, never the predictions, so that a promise tested on the texts holds. Null if the time is too short.
 */
export async function* writeTexts(
  tokenizer: Tokenizer,
  staged: StagedModel,
  prompts: readonly (readonly number[])[],
  request: CalibrationRequest,
  pace: Pace,
  signal: AbortSignal,
): AsyncGenerator<CalibrateEvent, Position[][] | null> {
  const { planned, most } = request.time;
  const { elapsed, behind, fewest, wanted } = pace;
  const each = textLength(prompts.length, fewest);
  const textsOf = (tokens: number): number => Math.ceil(tokens / each);
  const total = Math.min(wanted, prompts.length * each);
  yield {
    type: 'phase',
    phase: 'generate',
    detail: `${plural(textsOf(total), 'text')} at full depth, all exits read`,
  };
  const size = Math.min(textsOf(total), Number.isFinite(most) ? timedBatch : largestBatch);
  const texts: Position[][] = [];
  let observed = 0;
  const marks: number[] = [elapsed()];
  // The first pass of a batch reads prompts.
  const writing = { seconds: 0, tokens: 0 };
  while (observed < total && texts.length < prompts.length) {
    const batch = prompts.slice(texts.length, texts.length + Math.min(size, textsOf(total - observed)));
    const observing = observeExits(staged, batch, each, tokenizer.eosIds);
    let next = await observing.next();
    let before = elapsed();
    for (let pass = 0; !next.done; pass++, next = await observing.next()) {
      if (pass > 0) {
        writing.seconds += elapsed() - before;
        writing.tokens += batch.length;
      }
      before = elapsed();
      const done = Math.min(total, observed + next.value.done * batch.length);
      yield { type: 'progress', phase: 'generate', done, total, unit: 'tokens' };
      await setImmediate(); // let a cancellation in
      signal.throwIfAborted();
      if (marks.push(elapsed()) !== measuredPasses + 1) continue;
      const { least, usual } = forecast(marks, { each, size, total }, aTokenOf(writing), pace);
      if (least > most) {
        yield { type: 'warning', message: tooLittleTime(most, least) };
        return null;
      }
      yield { type: 'expected', seconds: Math.min(usual, Math.max(planned, least)) };
    }
    texts.push(...next.value);
    observed = texts.flat().length;
    const aText = (elapsed() - marks[0]!) / texts.length;
    const soonest = elapsed() + size * aText + behind(aTokenOf(writing));
    if (observed >= fewest) {
      if (soonest > planned) break;
    } else if (soonest > most) {
      yield { type: 'warning', message: tooLittleTime(most, soonest) };
      return null;
    }
  }
  requireTokens(observed, fewest);
  return texts;
}

/**
 * When the rest of a calibration ends, in seconds since it began, by the times of its first passes: at least, with the fewest tokens and the
 * work that the promise needs, and usually. Texts of `each` tokens are written in batches of `size`, up to `total` tokens.
 */
function forecast(
  marks: readonly number[],
  { each, size, total }: { readonly each: number; readonly size: number; readonly total: number },
  aToken: number,
  { behind, usuallyBehind, fewest }: Pace,
): { readonly least: number; readonly usual: number } {
  const [start, first, last] = [marks[0]!, marks[1]!, marks.at(-1)!];
  const aBatch = first - start + ((each - 1) * (last - first)) / (measuredPasses - 1);
  const until = (tokens: number): number => start + aBatch * Math.ceil(tokens / (size * each));
  return { least: until(fewest) + behind(aToken), usual: until(total) + usuallyBehind(aToken) };
}

const aTokenOf = ({ seconds, tokens }: { readonly seconds: number; readonly tokens: number }): number =>
  seconds / Math.max(1, tokens);

/** Tokens of each text: more than usual if so many prompts would not give the fewest that are needed, since some texts end early. */
export const textLength = (prompts: number, fewest: number): number =>
  Math.min(mostNewTokens, Math.max(newTokens, Math.ceil((1.25 * fewest) / prompts)));

/** Passes of the first batch, that of its prompts among them, after which the time of the rest is known. */
const measuredPasses = 8;

export function requireTokens(tokens: number, fewest: number): void {
  if (tokens >= fewest) return;
  const problem = `The held-out text gives ${plural(tokens, 'token')} to calibrate on, and this promise needs at least ${fewest}.`;
  throw userError('bad-data', problem, 'Give more text, or promise less (--promise, --certainty).');
}

const tooLittleTime = (seconds: number, least: number): string =>
  `The exits are not calibrated: here that takes at least ${Math.ceil(least)} s, and ${Math.max(0, Math.round(seconds))} s are left.`;

/** Every second window, and the others. */
export function alternating(windows: Windows): [Windows, Windows] {
  const half = (first: number): Windows => ({
    ...windows,
    count: Math.ceil((windows.count - first) / 2),
    window: (index) => windows.window(2 * index + first),
  });
  return [half(0), half(1)];
}

/**
 * At most `most` pieces of windows, of `tokens` tokens, apart from each other if there is enough text; pieces are shorter, down to
 * `promptTokens`, if there would be fewer of them otherwise. If they are shorter than `context`, each takes in that many tokens before its
 * end, so that neighbours overlap. The first few are spread over all of the text, however few are taken. No piece ends with the end of a
 * document or soon behind it: `separator` stands between documents and fills windows. Of chats each ends where an answer begins or goes on.
 */
export function promptsOf(
  windows: Windows,
  most: number,
  separator: number | null,
  tokens = promptTokens,
  context = 0,
): number[][] {
  const room = Math.floor((windows.count * windows.tokens) / (2 * most));
  const length = Math.min(Math.max(promptTokens, Math.min(tokens, room)), windows.tokens - 1);
  const perWindow = Math.max(1, Math.floor(windows.tokens / (2 * length)));
  const places = windows.count * perWindow;
  const count = Math.min(most, places);
  // Numbers by the fraction of their multiple of the golden ratio: every beginning of that order is spread evenly.
  const fraction = (i: number): number => ((i * (1 + Math.sqrt(5))) / 2) % 1;
  const order = Array.from({ length: count }, (_, i) => i).sort((a, b) => fraction(a) - fraction(b));
  const taken = new Set<string>();
  return order.flatMap((i) => {
    const place = Math.floor((i * places) / count);
    const window = Math.floor(place / perWindow);
    const { ids, targets } = windows.window(window);
    const end = beforeTarget(targets, withinDocument(ids, ((place % perWindow) * 2 + 1) * length, separator));
    if (end < promptTokens || taken.has(`${window} ${end}`)) return [];
    taken.add(`${window} ${end}`);
    return [[...ids.subarray(Math.max(0, end - Math.max(length, context)), end)]];
  });
}

/** The first place from `end` on whose token is learned; 0 if there is none. */
const beforeTarget = (targets: Int32Array, end: number): number =>
  1 + targets.findIndex((target, i) => i + 1 >= end && target >= 0);

/** Tokens of a document before which no piece ends. */
const fewestBegun = 32;

/** The last place up to `end` with some tokens of one document before it, and room for what a text continues; negative if there is none. */
function withinDocument(ids: Int32Array, end: number, separator: number | null): number {
  if (separator === null || end <= 0) return end;
  const last = ids.lastIndexOf(separator, end - 1);
  if (last < Math.max(0, end - fewestBegun)) return end;
  let first = last;
  while (first > 0 && ids[first - 1] === separator) first--;
  return withinDocument(ids, first - newTokens, separator);
}
