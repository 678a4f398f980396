/**
 * Each policy is one record: its help, the range of its threshold, and the condition under which a token leaves. A new policy is one more record;
 * option, setting, documentation, the check of the range and decoding follow from it.
 */

/** What an exit predicts for a token; see `Readout`. */
export interface ExitPrediction {
  readonly token: number;
  readonly confidence: number;
  readonly margin: number;
  readonly entropy: number;
}

interface PolicyRecord {
  readonly help: string;
  /** The option that sets how sure an exit must be. */
  readonly setBy: 'threshold' | 'patience';
  readonly largest: number;
  /** Whether a token leaves at an exit that predicts `now`, if the exits before it predicted `earlier`; `value` is the threshold or patience. */
  leaves(value: number, now: ExitPrediction, earlier: readonly ExitPrediction[]): boolean;
}

/** A probability may round to 1, so 1 is no threshold but "never". */
const reaches = (probability: number, threshold: number): boolean => threshold < 1 && probability >= threshold;

export const policies = {
  confidence: {
    help: 'leave if the largest probability is at least the threshold',
    setBy: 'threshold',
    largest: 1,
    leaves: (threshold, { confidence }) => reaches(confidence, threshold),
  },
  margin: {
    help: 'leave if it exceeds the second largest by at least the threshold',
    setBy: 'threshold',
    largest: 1,
    leaves: (threshold, { margin }) => reaches(margin, threshold),
  },
  entropy: {
    help: 'leave if the entropy, in nats, is at most the threshold',
    setBy: 'threshold',
    largest: Infinity,
    leaves: (threshold, { entropy }) => threshold > 0 && entropy <= threshold,
  },
  patience: {
    help: 'leave if enough exits in a row predict the same token',
    setBy: 'patience',
    largest: Infinity,
    leaves: (exits, { token }, earlier) => {
      if (exits <= 1) return true;
      const before = earlier.slice(1 - exits);
      return before.length === exits - 1 && before.every((one) => one.token === token);
    },
  },
} as const satisfies Readonly<Record<string, PolicyRecord>>;

export type PolicyName = keyof typeof policies;

export const policyNames = Object.keys(policies) as readonly PolicyName[];

/** Help text by name of the policy. */
export const policyHelp = Object.fromEntries(policyNames.map((name) => [name, policies[name].help])) as Readonly<
  Record<PolicyName, string>
>;
