/** The records of one step of decoding: drafts, the positions that are decided together, and the decisions. */
import type { ExitPoint, Readout } from '../runtime/staged-model.ts';

/** Source of drafts that the text itself made. */
export const textSource = 'lookup';

export interface Draft {
  readonly token: number;
  /** `textSource`, or the id of the exit that drafted it. */
  readonly source: string;
  /** What kind of guess of an exit it was, for learning how often such are right; null: the text's, which are judged anyway. */
  readonly kind: string | null;
}

export interface DraftOptions {
  readonly lookup: boolean;
  /** Texts beside its own that this one may repeat, such as open files, in tokens; what is closest to it last. */
  readonly others?: readonly (readonly number[])[];
  /** Exits that may draft, by id. */
  readonly exits: (exit: string) => boolean;
  /** Most drafts in a block. */
  readonly limit: number;
}

/** What was decided for one token. */
export interface Choice {
  readonly token: number;
  readonly exit: ExitPoint;
  readonly readout: Readout;
  /** Of the token, by the exit that it left at. */
  readonly probability: number;
  /** What had been drafted in its place. */
  readonly draft: Draft | null;
  /** What every exit predicted, if candidates were requested. */
  readonly opinions: readonly { readonly exit: ExitPoint; readonly readout: Readout }[];
}
