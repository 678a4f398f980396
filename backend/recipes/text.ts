/** The text of a recipe: documents → tokens on disk → windows to tune on and held-out windows. */
import { plural } from '../../protocol/plural.ts';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { TuneEvent } from '../../protocol/events.ts';
import { readDocuments, type Documents } from '../data/texts/documents.ts';
import { packDocuments, type Part, type TokenSets } from '../data/texts/packing.ts';
import type { TokenSet } from '../data/texts/token-file.ts';
import type { Tokenizer } from '../data/tokenizer/tokenizer.ts';
import { userCache } from '../system/user-cache.ts';
import type { Windows } from '../features/features.ts';
import type { ModelSpec } from '../model/spec.ts';
import { reporting } from './reporting.ts';

export interface TextOptions {
  readonly sequenceLength: number;
  readonly heldOutFraction: number;
  readonly splitSeed: number;
}

type TextEvent = Extract<TuneEvent, { type: 'phase' | 'progress' | 'warning' }>;

/** Files named one by one when they are left out; more are only counted. */
const namedSkips = 3;

export interface FoundText {
  readonly documents: Documents;
  /** What is left out, with the reason, once the documents have been gone through. */
  readonly skipped: ReadonlyMap<string, string>;
}

/** Finds the files before a model is opened for them. @throws UserError if there are none. */
export function findText(data: readonly string[]): FoundText {
  const skipped = new Map<string, string>();
  return { documents: readDocuments(data, { onSkip: (file, reason) => void skipped.set(file, reason) }), skipped };
}

/** As a model of this vocabulary and context takes it. @throws UserError if nothing can be read, or a wanted part would be empty. */
export async function* readText(
  { documents, skipped }: FoundText,
  options: TextOptions,
  tokenizer: Tokenizer,
  { contextLength, vocabulary }: Pick<ModelSpec, 'contextLength' | 'vocabulary'>,
  parts: readonly Part[],
  signal: AbortSignal,
): AsyncGenerator<TextEvent, TokenSets> {
  yield { type: 'phase', phase: 'tokenize', detail: plural(documents.files.length, 'file') };
  const sets = yield* reporting('tokenize', 'documents', (onProgress) =>
    packDocuments(documents, tokenizer, {
      directory: join(userCache(), 'tokens'),
      windowLength: Math.min(options.sequenceLength, contextLength),
      heldOutFraction: options.heldOutFraction,
      seed: options.splitSeed,
      vocabulary,
      parts,
      onProgress,
      signal,
    }),
  );
  for (const [file, reason] of [...skipped].slice(0, namedSkips)) {
    yield { type: 'warning', message: `${file} is left out: ${reason}.` };
  }
  if (skipped.size > namedSkips) {
    yield { type: 'warning', message: `${skipped.size - namedSkips} more files are left out.` };
  }
  return sets;
}

/** The first windows of a set, as many as make up `tokens` (at least one). */
export function windowsOf(sets: TokenSets, part: Part, tokens = Infinity): Windows {
  const set = setOf(sets, part);
  return {
    count: Math.min(set.windows, Math.max(1, Math.floor(tokens / set.windowLength))),
    tokens: set.windowLength,
    hash: `${sets.id}.${part}`,
    areChats: sets.areChats,
    window: (index) => set.read(index),
  };
}

function setOf(sets: TokenSets, part: Part): TokenSet {
  const set = sets[part];
  if (!set) throw new Error(`the ${part} windows were not requested`);
  return set;
}

/** Windows that are counted before messages are let in: some milliseconds. */
const windowsAtOnce = 64;

/**
 * The `size` tokens that most windows have, most frequent first; ties go to the lower id. Plain counts do as well: of text of other packages
 * the lists leave out 3.8 and 3.9 % at 8,192 tokens, 9.7 and 9.3 % at 4,096. Of chats all tokens count, also those that are no targets: text
 * whose tokens the list lacks is of another kind (decoding/leaving/probation.ts). Null if the list would contain the whole vocabulary.
 * Throws the signal's reason if it was aborted.
 */
export async function frequentTokens(
  text: Windows,
  vocabulary: number,
  size: number,
  signal: AbortSignal,
): Promise<number[] | null> {
  if (size >= vocabulary) return null;
  const windows = new Float64Array(vocabulary);
  for (let w = 0; w < text.count; w++) {
    if (w % windowsAtOnce === 0) {
      await setImmediate(); // let a cancellation in
      signal.throwIfAborted();
    }
    const { ids, targets } = text.window(w);
    for (const id of new Set([...ids.subarray(1), ...targets])) if (id >= 0) windows[id]! += 1;
  }
  const ids = Uint32Array.from(windows, (_, id) => id).sort((a, b) => windows[b]! - windows[a]! || a - b);
  return [...ids.subarray(0, size)];
}
