/**
 * The tokens that may come next in a text that is not free: it must repeat what was taken off its prompt (healing.ts), or follow a grammar
 * (grammar/). Each position has an immutable value, and each token leads to another value, so that drafts can be checked without undoing
 * anything.
 */
export interface Allowed {
  /** Whether a token may be next. */
  allows(token: number): boolean;
  /** All that may be, a bit for each id, 32 ids in a number; null: none that the vocabulary has, and then any may. */
  mask(): Uint32Array | null;
  /** What may follow a token that is allowed; null: anything. */
  after(token: number): Allowed | null;
  /** Nothing may follow: the text is `complete` here, or is given up. */
  readonly end: 'complete' | 'given-up' | null;
}

export const inMask = (mask: Uint32Array, id: number): boolean => ((mask[id >>> 5] ?? 0) & (1 << (id & 31))) !== 0;

/** Adds an id to a mask, which has room for it. */
export function putInMask(mask: Uint32Array, id: number): void {
  mask[id >>> 5]! |= 1 << (id & 31);
}

export const emptyMask = (vocabulary: number): Uint32Array => new Uint32Array(Math.ceil(vocabulary / 32));
