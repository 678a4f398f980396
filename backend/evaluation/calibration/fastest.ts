/** What a calibration keeps of a candidate that was timed, and which mode is the default. Pure. */
import type { Brought, Figure } from '../../../protocol/brought.ts';
import type { Mode } from '../../../protocol/trace.ts';
import { leastSpeedup, type Candidate, type Trial } from './trial.ts';
import type { Judged } from './written.ts';

export interface Fastest extends Candidate {
  readonly mode: Mode;
  readonly brought: Pick<Brought, 'speedup' | 'agreement' | 'regret'> | null;
  /** What the candidate brings by itself, if it does not pay. */
  readonly tried: Figure | null;
  readonly speedups: { readonly fast: number; readonly lossless: number };
}

/**
 * What a calibration stores. Thresholds that pay by themselves, or on top of drafts, are kept. The default mode is then `fast`, unless drafts
 * alone, which change no text, are clearly faster: whoever calibrates has named the loss that is allowed.
 */
export function fastestOf(candidate: Judged | null, { lossless, leaving }: Trial): Fastest {
  const drafting = lossless.value * leastSpeedup >= 1 ? 'lossless' : 'full';
  if (candidate && leaving) {
    const { fast, beside, alone } = leaving;
    if (isFaster(alone) || (isFaster(fast) && isFaster(beside))) {
      const { agreement, regret, ...rule } = candidate;
      const brought = { speedup: alone, agreement, regret };
      // Drafts are learned and switched off within a text, so a few texts with them say less than exits by themselves.
      const pays = isFaster(fast) || (isFaster(alone) && fast.value >= 1);
      const mode = pays && !isClearlyFaster(inverse(beside)) ? 'fast' : drafting;
      return { ...rule, mode, brought, tried: null, speedups: { fast: fast.value, lossless: lossless.value } };
    }
  }
  return {
    thresholds: {},
    gates: new Map(),
    hints: new Map(),
    trust: new Map(),
    remembers: false,
    learnedAnswers: false,
    mode: drafting,
    brought: null,
    tried: leaving?.alone ?? null,
    speedups: { fast: lossless.value, lossless: lossless.value },
  };
}

/** By more than chance, and by more than is worth a word. */
const isFaster = ({ value, error }: Figure): boolean => value >= leastSpeedup && value > 1 + error;
/** What drafts bring differs a lot from text to text, so that one error is not enough. */
const isClearlyFaster = ({ value, error }: Figure): boolean => isFaster({ value, error: 2 * error });
const inverse = ({ value, error }: Figure): Figure => ({ value: 1 / value, error: error / value ** 2 });
