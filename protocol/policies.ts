/**
 * Each policy is one record: its help, the range of its threshold and the usual one, and the condition under which a token leaves. A new policy
 * is one more record; option, setting, documentation, the check of the range and decoding follow from it.
 */

/** What an exit predicts for a token; see `Readout`. */
export interface ExitPrediction {
  readonly token: number;
  readonly confidence: number;
  readonly margin: number;
  readonly entropy: number;
}

type PolicyRecord = {
  readonly help: string;
  /** Whether a token leaves at an exit that predicts `now`, if the exits before it predicted `earlier`; `value` is the threshold or patience. */
  leaves(value: number, now: ExitPrediction, earlier: readonly ExitPrediction[]): boolean;
} & SetBy;

/** The option that sets how sure an exit must be. `usual`: the threshold if none is given and none was calibrated. */
type SetBy =
  { readonly setBy: 'threshold'; readonly largest: number; readonly usual: number } | { readonly setBy: 'patience' };

/** A probability may round to 1, so 1 is no threshold but "never". */
const reaches = (probability: number, threshold: number): boolean => threshold < 1 && probability >= threshold;

export const policies = {
  confidence: {
    help: 'leave if the largest probability is at least the threshold',
    setBy: 'threshold',
    largest: 1,
    usual: 0.8,
    leaves: (threshold, { confidence }) => reaches(confidence, threshold),
  },
  margin: {
    help: 'leave if the largest probability exceeds the second largest by at least the threshold',
    setBy: 'threshold',
    largest: 1,
    usual: 0.8,
    leaves: (threshold, { margin }) => reaches(margin, threshold),
  },
  entropy: {
    help: 'leave if the entropy, in nats, is at most the threshold',
    setBy: 'threshold',
    largest: Infinity,
    usual: 0.8,
    leaves: (threshold, { entropy }) => threshold > 0 && entropy <= threshold,
  },
  patience: {
    help: 'leave if enough exits in a row predict the same token',
    setBy: 'patience',
    leaves: (exits, { token }, earlier) => {
      if (exits <= 1) return true;
      const before = earlier.slice(1 - exits);
      return before.length === exits - 1 && before.every((one) => one.token === token);
    },
  },
} as const satisfies Readonly<Record<string, PolicyRecord>>;

export type PolicyName = keyof typeof policies;

export const policyNames = Object.keys(policies) as readonly PolicyName[];

/** `confidence 0.8, margin 0.8 …`: the threshold of each policy if none is given. */
export const usualThresholds = policyNames
  .flatMap((name) => {
    const policy: PolicyRecord = policies[name];
    return policy.setBy === 'threshold' ? [`${name} ${policy.usual}`] : [];
  })
  .join(', ');

/** Help text by name of the policy. */
export const policyHelp = Object.fromEntries(policyNames.map((name) => [name, policies[name].help])) as Readonly<
  Record<PolicyName, string>
>;
