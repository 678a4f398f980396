/**
 * The trials of a sweep, from its file: every combination of the listed values, those of the first seed first. Pure except for reading it.
 */
import { userError } from '../../protocol/errors.ts';
import { configOrigin, optionTables, parseOptions } from '../../protocol/options/options.ts';
import { anyRecord, list, partial, readMessage, simple, table } from '../../protocol/shapes.ts';
import { readText } from '../system/files.ts';

export interface Trial {
  /** Its place, such as `007`. */
  readonly name: string;
  /** The options in which the trial differs from the others, such as `exits 8:mlp, seed 2`. */
  readonly what: string;
  /** Options of `tune`, as a config file would have them. */
  readonly given: Readonly<Record<string, unknown>>;
}

/** More is a slip of the pen. */
const mostTrials = 500;

/** Options that the sweep itself sets. */
const notOfTrials = ['out', 'resume', 'plan'] as const;

const several = simple(
  'a list of values that is not empty',
  (value): value is unknown[] => Array.isArray(value) && value.length > 0,
);
const shape = partial<{
  options: Record<string, unknown>;
  grid: Record<string, unknown[]>;
  trials: Record<string, unknown>[];
}>({ options: anyRecord, grid: table(several), trials: list(anyRecord) });

/** @throws UserError if the file is no sweep, an option is unknown or wrong, or there are too many trials; before any begins. */
export function readTrials(path: string): Trial[] {
  const { options = {}, grid = {}, trials = [{}] } = parsed(path);
  const total = Object.values(grid).reduce((product, values) => product * values.length, trials.length);
  if (total === 0) throw userError('bad-config', `${path} has no trial.`, 'List some under trials, or leave that out.');
  if (total > mostTrials)
    throw userError(
      'bad-config',
      `${path} asks for ${total} trials, and a sweep has ${mostTrials} at most.`,
      'List fewer values.',
    );
  let all: Record<string, unknown>[] = trials.map((trial) => ({ ...options, ...trial }));
  // The first option changes slowest, and seeds slowest of all, so that every combination has run once before any runs again.
  const names = Object.keys(grid).sort((a, b) => Number(b === 'seed') - Number(a === 'seed'));
  for (const name of names.toReversed())
    all = grid[name]!.flatMap((value) => all.map((trial) => ({ ...trial, [name]: value })));
  const keys = new Set([...trials.flatMap(Object.keys), ...Object.keys(grid)]);
  const varied = [...keys]
    .filter((key) => new Set(all.map((trial) => JSON.stringify(trial[key]))).size > 1)
    .sort((a, b) => Number(a === 'seed') - Number(b === 'seed'));
  return all.map((given, i) => {
    checkTrial(path, given);
    const description = varied.map((key) => `${key} ${shown(given[key])}`).join(', ');
    return { name: String(i + 1).padStart(3, '0'), what: description || 'as given', given };
  });
}

const shown = (value: unknown): string => (typeof value === 'string' ? value : (JSON.stringify(value) ?? 'default'));

function checkTrial(path: string, given: Readonly<Record<string, unknown>>): void {
  const own = notOfTrials.find((name) => name in given);
  if (own) throw userError('bad-config', `${path} sets ${own}, which the sweep sets itself.`, 'Leave it out.');
  const { on } = parseOptions('tune', given, configOrigin(path));
  if (on.kind === 'slurm')
    throw userError(
      'bad-config',
      `${path} gives trials to Slurm, which queues them, and a sweep waits for each.`,
      'Use here, torchrun or ray, or submit a job that runs the sweep.',
    );
}

function parsed(path: string): ReturnType<typeof shape.read> {
  let json: unknown;
  try {
    json = JSON.parse(readText(path));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw userError('bad-config', `${path} is no sweep: it is not JSON.`, 'See docs/formats.md.', error);
  }
  const known = ['options', 'grid', 'trials'];
  const other = Object.keys(readMessage(path, anyRecord, json)).find((key) => !known.includes(key));
  if (other !== undefined) {
    const isOption = Object.hasOwn(optionTables.tune, other);
    throw userError(
      'bad-config',
      `${path} has ${JSON.stringify(other)}, and a sweep has options, grid and trials.`,
      isOption ? `Put it under options, or with a list of values under grid.` : 'See docs/formats.md.',
    );
  }
  return readMessage(path, shape, json);
}
