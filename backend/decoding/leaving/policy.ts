/** When a token may leave at an exit; the policies are in `protocol/policies.ts`. The final exit's policy is "always". */
import { policies, type PolicyName } from '../../../protocol/policies.ts';
import type { Readout } from '../../runtime/staged-model.ts';

export interface Policy {
  readonly kind: PolicyName;
  /** How sure an exit must be, in the unit of the policy. */
  readonly threshold: (exit: string) => number;
}

/**
 * Whether a token leaves at `exit`, whose readout is `readout`, after the exits before it predicted `earlier`. If a shortlist's defer class
 * won (`token` −1), the right token is not on the list, and the token continues under any policy.
 */
export const leaves = (
  { kind, threshold }: Policy,
  exit: string,
  readout: Readout,
  earlier: readonly Readout[],
): boolean => readout.token >= 0 && policies[kind].leaves(threshold(exit), readout, earlier);
