/** When a token may leave at an exit. Pure functions of what the exits said; the final exit's policy is "always". */
import type { Readout } from '../runtime/staged-model.ts';

export type Policy =
  /** Largest probability at least the threshold (the paper's); 1 never leaves. */
  | { readonly kind: 'confidence'; readonly threshold: (exit: string) => number }
  /** Largest minus second largest probability at least the threshold; 1 never leaves. */
  | { readonly kind: 'margin'; readonly threshold: (exit: string) => number }
  /** Entropy in nats at most the threshold; 0 never leaves. */
  | { readonly kind: 'entropy'; readonly threshold: (exit: string) => number }
  /** This many exits in a row have said the same token. */
  | { readonly kind: 'patience'; readonly exits: number };

/**
 * Whether a token leaves at `exit`, which said `readout` after the exits before it said `earlier`. Where a shortlist's
 * defer class won (`token` −1) the right token is not on the list, and the token goes on whatever the policy.
 */
export function leaves(policy: Policy, exit: string, readout: Readout, earlier: readonly Readout[]): boolean {
  if (readout.token < 0) return false;
  switch (policy.kind) {
    case 'confidence':
      return reaches(readout.confidence, policy.threshold(exit));
    case 'margin':
      return reaches(readout.margin, policy.threshold(exit));
    case 'entropy': {
      const threshold = policy.threshold(exit);
      return threshold > 0 && readout.entropy <= threshold;
    }
    case 'patience': {
      const recent = earlier.slice(-(policy.exits - 1));
      if (policy.exits <= 1) return true;
      return recent.length === policy.exits - 1 && recent.every(({ token }) => token === readout.token);
    }
  }
}

/** A probability may round to 1, so 1 is no threshold but "never". */
const reaches = (value: number, threshold: number): boolean => threshold < 1 && value >= threshold;
