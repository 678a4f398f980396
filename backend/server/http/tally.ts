/** What became of one request, counted as its events come: for the log and the metrics. */
import type { TextEvent } from '../../../protocol/serving.ts';
import type { StopReason } from '../../../protocol/trace.ts';

export interface Tally {
  /** When it was requested; milliseconds. */
  readonly requestedAt: number;
  promptTokens: number;
  rememberedTokens: number;
  writtenTokens: number;
  /** Sum of the layers at which its tokens left. */
  layers: number;
  /** Written tokens by the exit that they left at. */
  readonly exits: Map<string, number>;
  /** Written tokens for which there was a draft, and those whose draft was accepted. */
  drafts: number;
  rightDrafts: number;
  /** Why its texts ended. */
  readonly reasons: Set<StopReason>;
  /** When its first token came, and its last; null: none has. */
  first: number | null;
  last: number | null;
}

export const newTally = (): Tally => ({
  requestedAt: performance.now(),
  promptTokens: 0,
  rememberedTokens: 0,
  writtenTokens: 0,
  layers: 0,
  exits: new Map(),
  drafts: 0,
  rightDrafts: 0,
  reasons: new Set(),
  first: null,
  last: null,
});

export function count(tally: Tally, event: TextEvent): void {
  switch (event.type) {
    case 'read':
      tally.promptTokens += event.tokens;
      tally.rememberedTokens += event.remembered;
      return;
    case 'written':
      tally.last = performance.now();
      tally.first ??= tally.last;
      tally.writtenTokens += event.tokens.length;
      for (const { layer, exit, draft } of event.tokens) {
        tally.layers += layer;
        tally.exits.set(exit, (tally.exits.get(exit) ?? 0) + 1);
        if (draft) tally.drafts++;
        if (draft?.accepted) tally.rightDrafts++;
      }
      return;
    case 'stopped':
      tally.reasons.add(event.reason);
  }
}

/** Tokens a second from the first on; null if fewer than two were written. */
export const speedOf = ({ first, last, writtenTokens }: Tally): number | null =>
  first === null || last === null || last <= first ? null : ((writtenTokens - 1) * 1000) / (last - first);
