/**
 * `npx tsx scripts/study.ts NAME DIR`: stores the results of a sweep or of judged tasks as docs/study/NAME.json, from which docs/guide.md
 * is made.
 */
import { readdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import path from 'node:path';
import { format, resolveConfig } from 'prettier';
import type { Spread, SweptGroup } from '../protocol/events.ts';
import type { TaskScores } from '../protocol/tasks.ts';
import { tuningFlops } from '../backend/evaluation/report/cost.ts';
import { groupsOf, spreadOf, sweptGroup, type Group } from '../backend/evaluation/report/groups.ts';
import { findRuns, type EvaluationRun, type TuningRun } from '../backend/evaluation/report/runs.ts';

interface Common {
  readonly model: string;
  readonly layers: number;
  readonly processor: string;
}

/** A sweep that is kept. */
export interface SweepStudy extends Common {
  readonly kind: 'sweep';
  /** Options that all trials share, except for paths. */
  readonly options: Readonly<Record<string, unknown>>;
  /** In the order in which they were tried. */
  readonly groups: readonly KeptGroup[];
}

export interface KeptGroup extends Omit<SweptGroup, 'minutes'> {
  /** Held-out loss of the final exit, which only a run of the whole model changes. */
  readonly final: Spread;
  /** Target tokens seen. */
  readonly tokens: Spread;
  /** Operations, in units of 10¹²; null if a run does not have them. */
  readonly teraflops: Spread | null;
}

/** Judged tasks that are kept. */
export interface TasksStudy extends Common {
  readonly kind: 'tasks';
  readonly exits: readonly string[];
  readonly device: string;
  readonly margin: number;
  readonly sets: readonly TaskScores[];
}

export type Study = SweepStudy | TasksStudy;

/** What a reader needs to repeat a sweep. */
const described = [
  'exits',
  'steps',
  'sequenceLength',
  'batchSize',
  'head',
  'shortlist',
  'initialise',
  'fitTokens',
  'crossEntropy',
  'distillation',
  'learningRate',
  'weighting',
  'evaluationTokens',
];

function studyOf(directory: string): Study {
  const runs = findRuns([directory]);
  const judged = runs.find((run): run is EvaluationRun => run.kind === 'evaluation');
  if (judged) return tasksStudy(judged);
  const tuned = runs.filter((run): run is TuningRun => run.kind === 'tuning' && run.isFinished);
  const [first] = tuned;
  if (!first) throw new Error(`${directory} has no finished run.`);
  const shared = described.filter(
    (key) => new Set(tuned.map(({ options }) => JSON.stringify(options[key]))).size === 1,
  );
  return {
    kind: 'sweep',
    model: first.model,
    layers: first.layers,
    processor: cpus()[0]!.model.trim(),
    options: Object.fromEntries(shared.map((key) => [key, first.options[key]])),
    groups: groupsOf(tuned).map(keptGroup),
  };
}

function keptGroup(group: Group): KeptGroup {
  const { name, seeds, exits } = sweptGroup(group);
  const { runs } = group;
  const flops = runs.flatMap(({ cost, tokens }) => (cost ? [tuningFlops(cost.numbers, tokens) / 1e12] : []));
  return {
    // Paths of this machine are private.
    name: name.replaceAll(/(?:\/[\w.-]+)+\/(?=[\w.-]+)/g, ''),
    seeds,
    exits,
    final: spreadOf(runs.map(({ scores }) => scores.find(({ exit }) => exit === 'final')!.loss)),
    tokens: spreadOf(runs.map(({ tokens }) => tokens)),
    teraflops: flops.length === runs.length ? spreadOf(flops) : null,
  };
}

const tasksStudy = ({ evaluation: { identity, about }, sets }: EvaluationRun): TasksStudy => ({
  kind: 'tasks',
  model: identity.model,
  layers: identity.layers,
  processor: about.processor,
  exits: identity.exits,
  device: about.device,
  margin: about.margin,
  sets,
});

const root = path.resolve(import.meta.dirname, '..');
const [name, directory] = process.argv.slice(2);
if (name === undefined || directory === undefined || !/^[\w-]+$/.test(name))
  throw new Error(
    `Usage: npx tsx scripts/study.ts NAME DIR; there are ${readdirSync(path.join(root, 'docs/study')).join(', ')}`,
  );
const file = path.join(root, 'docs/study', `${name}.json`);
await writeFile(
  file,
  await format(JSON.stringify(studyOf(directory)), { ...(await resolveConfig(file)), filepath: file }),
);
