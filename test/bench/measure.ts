/** Measuring side by side: contestants take turns within one run, and each keeps all its samples. Knows no section. */

/** One who takes a turn in every round. */
export interface Contestant {
  readonly name: string;
  /** Does the work once; answers the seconds of what it timed, by name, or bytes and the like that it found. */
  readonly turn: () => Promise<Readonly<Record<string, number>>>;
}

export interface Measurement {
  readonly name: string;
  /** Seconds, in the order of the rounds. */
  readonly samples: readonly number[];
  readonly minimum: number;
  readonly median: number;
}

/**
 * `wall`: how long the work takes. `processor`: how long it keeps processors busy, which other work on the machine changes
 * little; for one thread, since several wait for each other awake.
 */
export type Clock = 'wall' | 'processor';

export type Measurements = ReadonlyMap<string, Measurement>;

/** Fewest rounds whose median is worth printing. */
export const fewestRounds = 7;

const pauseMilliseconds = 30;

/**
 * Lets all contestants take turns for `rounds` rounds, after one round that does not count. The order turns with the rounds, so
 * that none always follows the same one.
 */
export async function alternate(
  contestants: readonly Contestant[],
  rounds: number,
  onRound: (round: number) => void = () => {},
): Promise<Measurements> {
  const samples = new Map<string, number[]>();
  for (let round = -1; round < rounds; round++) {
    onRound(round);
    for (let i = 0; i < contestants.length; i++) {
      const { turn } = contestants[(i + Math.max(0, round)) % contestants.length]!;
      await pause();
      const timed = await turn();
      if (round < 0) continue;
      for (const [name, seconds] of Object.entries(timed)) samples.set(name, [...(samples.get(name) ?? []), seconds]);
    }
  }
  return new Map([...samples].map(([name, all]) => [name, measurement(name, all)]));
}

export function measurement(name: string, samples: readonly number[]): Measurement {
  if (samples.length === 0) throw new Error(`nothing was measured of ${name}`);
  return { name, samples, minimum: Math.min(...samples), median: median(samples) };
}

/** The middle one; of an even number the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
}

/** How many times as fast `ours` is as `theirs`, by medians and by minima. */
export const speedup = (ours: Measurement, theirs: Measurement): { median: number; minimum: number } => ({
  median: theirs.median / ours.median,
  minimum: theirs.minimum / ours.minimum,
});

/** Of all samples together. */
export const total = ({ samples }: Measurement): number => samples.reduce((sum, seconds) => sum + seconds, 0);

/** Over all texts together, since texts differ: theirs ÷ ours. */
export const ratioOfTotals = (theirs: Measurement, ours: Measurement): number => total(theirs) / total(ours);

/** Seconds that `work` takes. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return (performance.now() - started) / 1000;
}

/** So that threads of one contestant do not wait awake beside the next. */
export const pause = (): Promise<void> => new Promise((resolve) => void setTimeout(resolve, pauseMilliseconds));
