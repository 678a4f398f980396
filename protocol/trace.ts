/** What was generated, token by token, with the exits. Plain records that cross every boundary as JSON. */

export interface Candidate {
  id: number;
  text: string;
  probability: number;
}

/** What one exit said, or would have said, of a token. `token` is null where a shortlist deferred. */
export interface ExitOpinion {
  exit: string;
  layer: number;
  confidence: number;
  token: Candidate | null;
  candidates: Candidate[];
}

export interface TokenRecord {
  /** Row of the batch. */
  sequence: number;
  /** Place in the generated text, from 0. */
  index: number;
  id: number;
  /** The text this token adds; may be empty while a character is incomplete. */
  text: string;
  /** Layers run for this token, counted from 1: where it left. */
  layer: number;
  /** The exit it left at (`8:mlp`), or `final`. */
  exit: string;
  confidence: number;
  /** Where a token had been drafted in this place: by the text itself (`lookup`) or an exit, and whether it was this one. */
  draft?: { source: string; accepted: boolean };
  /** The most probable tokens of the exit that it left at, where asked for. */
  alternatives?: Candidate[];
  /** What every exit said, where asked for; exits beyond the one it left at are included. */
  opinions?: ExitOpinion[];
}

/**
 * Why a text ends. `block-end`: the block or statement that it began is closed, or what stands behind the cursor begins; `repetition`:
 * it has begun to repeat itself.
 */
export const stopReasons = [
  'end-of-text',
  'stop-string',
  'block-end',
  'repetition',
  'length',
  'context-full',
  'cancelled',
] as const;
export type StopReason = (typeof stopReasons)[number];

/** How exits were used: tokens left at them, they drafted for the final exit, or they were not needed. */
export type Mode = 'fast' | 'lossless' | 'full';
