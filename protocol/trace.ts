/** What was generated, token by token, with the exits. Plain records that cross every boundary as JSON. */

export interface Candidate {
  id: number;
  text: string;
  probability: number;
}

/** What one exit predicted for a token, or would have predicted. `token` is null if a shortlist deferred. */
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
  /** The layer at which the token left, counted from 1, and so the number of layers that it ran. */
  layer: number;
  /** The exit it left at (`8:mlp`), or `final`. */
  exit: string;
  confidence: number;
  /** Present if a token was drafted in this place: by the text itself (`lookup`) or an exit, and whether the draft was this token. */
  draft?: { source: string; accepted: boolean };
  /** The most probable tokens of the exit at which it left, if requested. */
  alternatives?: Candidate[];
  /** Every exit's prediction, if requested, also of exits behind the one at which it left. */
  opinions?: ExitOpinion[];
}

/**
 * Why a text ends. `block-end`: the block or statement that it began is closed, or the text after the cursor begins; `repetition`: it has
 * begun to repeat itself.
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
