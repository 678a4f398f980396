/** Runs of tuning, grouped by their options, and the result of each group over its seeds. Pure. */
import type { Spread, SweptGroup } from '../../../protocol/events.ts';
import { mean, sum } from '../tasks/statistics.ts';
import type { TuningRun } from './runs.ts';

/** Runs that differ in nothing but the seed, and at most in the machine that ran each seed. */
export interface Group {
  /** The options in which the group differs from the others, such as `exits 8:mlp, initialise fit`. */
  readonly name: string;
  readonly runs: readonly TuningRun[];
}

/** Options in which runs of one group may differ: the seed, the folder, and whether the run was resumed. */
const ofSitting = new Set(['seed', 'out', 'resume']);

/** The same, unless runs of one seed differ in them: these are compared. */
const ofMachine = new Set(['device', 'exitDevice', 'gpuLayers', 'threads']);

/** Options that, after a run of the whole model, name its results: the new model and its exits. */
const ofResult = new Set(['model', 'exits']);
const isWhole = ({ options }: TuningRun): boolean => typeof options['continuePretraining'] === 'string';

/** Groups the runs of one model by their options; options that all runs share are not named. */
export function groupsOf(runs: readonly TuningRun[]): Group[] {
  const varied = [...new Set(runs.flatMap(({ options }) => Object.keys(options)))]
    .filter((key) => !ofSitting.has(key) && differ(runs, key))
    .sort();
  const groups = groupedBy(
    runs,
    varied.filter((key) => !ofMachine.has(key)),
  );
  const sameSeed = groups.flatMap(({ runs: own }) => groupedBy(own, ['seed']));
  const compared = varied.filter((key) => !ofMachine.has(key) || sameSeed.some(({ runs: own }) => differ(own, key)));
  return groupedBy(runs, compared);
}

function groupedBy(runs: readonly TuningRun[], keys: readonly string[]): Group[] {
  const names = new Map<string, TuningRun[]>();
  for (const run of runs) {
    const name = keys.map((key) => `${key} ${text(run, key)}`).join(', ') || run.model;
    names.set(name, [...(names.get(name) ?? []), run]);
  }
  return [...names].map(([name, own]) => ({ name, runs: own }));
}

const differ = (runs: readonly TuningRun[], key: string): boolean =>
  new Set(runs.map((run) => text(run, key))).size > 1;

const text = (run: TuningRun, key: string): string =>
  ofResult.has(key) && isWhole(run) ? 'of the run' : shown(run.options[key]);

const shown = (value: unknown): string => (typeof value === 'string' ? value : (JSON.stringify(value) ?? ''));

/** Mean and sample deviation. */
export function spreadOf(values: readonly number[]): Spread {
  const center = mean(values);
  const squares = sum(values.map((value) => (value - center) ** 2));
  return { mean: center, deviation: values.length < 2 ? 0 : Math.sqrt(squares / (values.length - 1)) };
}

/** What came of a group over its seeds, at the exits that all its runs have; those of `import` have no scores, and are left out. */
export function sweptGroup({ name, runs }: Group): SweptGroup {
  const exits = runs[0]!.exits.filter((exit) => runs.every((run) => run.exits.includes(exit)));
  return {
    name,
    seeds: groupedBy(runs, ['seed']).length,
    exits: exits.flatMap((exit) => {
      const own = runs.flatMap(({ scores }) => scores.filter((score) => score.exit === exit));
      if (own.length === 0) return [];
      const loss = spreadOf(own.map((score) => score.loss));
      return [{ exit, loss, agreement: spreadOf(own.map(({ agreement }) => agreement)) }];
    }),
    minutes: spreadOf(runs.map(({ seconds }) => seconds / 60)),
  };
}
