/**
 * Each policy as one record: what it is called, how sure it wants an exit to be, and whether a token leaves. A new policy is one more record;
 * option, setting, documentation, the check of its range and decoding follow.
 */

/** What an exit said of a token; see `Readout`. */
export interface SaidByExit {
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
  /** Whether a token leaves at an exit that said `now`, after the exits before it said `earlier`. */
  leaves(value: number, now: SaidByExit, earlier: readonly SaidByExit[]): boolean;
}

/** A probability may round to 1, so 1 is no threshold but "never". */
const reaches = (probability: number, threshold: number): boolean => threshold < 1 && probability >= threshold;

export const policies = {
  confidence: {
    help: 'leave where the largest probability is at least the threshold',
    setBy: 'threshold',
    largest: 1,
    leaves: (threshold, { confidence }) => reaches(confidence, threshold),
  },
  margin: {
    help: 'leave where it exceeds the second largest by at least the threshold',
    setBy: 'threshold',
    largest: 1,
    leaves: (threshold, { margin }) => reaches(margin, threshold),
  },
  entropy: {
    help: 'leave where the entropy, in nats, is at most the threshold',
    setBy: 'threshold',
    largest: Infinity,
    leaves: (threshold, { entropy }) => threshold > 0 && entropy <= threshold,
  },
  patience: {
    help: 'leave where enough exits in a row have said the same token',
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

/** What each is, by name. */
export const policyHelp = Object.fromEntries(policyNames.map((name) => [name, policies[name].help])) as Readonly<
  Record<PolicyName, string>
>;
