/**
 * `npx tsx scripts/study.ts NAME DIR [TEXT…]`: stores the results of a sweep or of judged tasks as docs/study/NAME.json, from which
 * docs/guide.md is made. The exits of a sweep are also measured on the given texts, as `evaluate` does it.
 */
import { readdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import path from 'node:path';
import { format, resolveConfig } from 'prettier';
import type { ExitScore, Spread, SweptGroup } from '../protocol/events.ts';
import { parseOptions } from '../protocol/options/options.ts';
import { plural } from '../protocol/plural.ts';
import type { TaskScores } from '../protocol/tasks.ts';
import { tuningFlops } from '../backend/evaluation/report/cost.ts';
import { groupsOf, spreadOf, sweptGroup, type Group } from '../backend/evaluation/report/groups.ts';
import { findRuns, type EvaluationRun, type TuningRun } from '../backend/evaluation/report/runs.ts';
import { evaluate } from '../backend/recipes/evaluate.ts';

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
  /** Of the held-out part of texts that the exits need not have been tuned on. */
  readonly on?: readonly { readonly text: string; readonly exits: SweptGroup['exits'] }[];
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

async function studyOf(directory: string, texts: readonly string[]): Promise<Study> {
  const runs = findRuns([directory]);
  const judged = runs.find((run): run is EvaluationRun => run.kind === 'evaluation');
  if (judged) return tasksStudy(wholeEvaluation(directory, judged));
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
    groups: await inTurn(groupsOf(tuned), async (group) => ({
      ...keptGroup(group),
      ...(texts.length > 0 && { on: await inTurn(texts, (text) => measuredOn(directory, group, text)) }),
    })),
  };
}

/** One after the other: each opens the model. */
async function inTurn<A, B>(all: readonly A[], work: (one: A) => Promise<B>): Promise<B[]> {
  const results: B[] = [];
  for (const one of all) results.push(await work(one));
  return results;
}

async function measuredOn(
  directory: string,
  group: Group,
  text: string,
): Promise<NonNullable<KeptGroup['on']>[number]> {
  const runs = await inTurn(group.runs, async (run) => {
    // A run's name begins with that of the folder.
    const { model, evaluationTokens } = run.options;
    const given = { model, exits: path.resolve(directory, '..', run.name), data: [text], evaluationTokens };
    let scores: readonly ExitScore[] = [];
    for await (const event of evaluate(parseOptions('evaluate', given), new AbortController().signal))
      if (event.type === 'evaluated') scores = event.scores;
    return { ...run, scores };
  });
  return { text: withoutFolders(text), exits: sweptGroup({ ...group, runs }).exits };
}

/** Paths of this machine are private. */
const withoutFolders = (text: string): string => text.replaceAll(/(?:\/[\w.-]+)+\/(?=[\w.-]+)/g, '');

function keptGroup(group: Group): KeptGroup {
  const { name, seeds, exits } = sweptGroup(group);
  const { runs } = group;
  const flops = runs.flatMap(({ cost, tokens }) => (cost ? [tuningFlops(cost.numbers, tokens) / 1e12] : []));
  return {
    name: withoutFolders(name),
    seeds,
    exits,
    final: spreadOf(runs.map(({ scores }) => scores.find(({ exit }) => exit === 'final')!.loss)),
    tokens: spreadOf(runs.map(({ tokens }) => tokens)),
    teraflops: flops.length === runs.length ? spreadOf(flops) : null,
  };
}

function wholeEvaluation(directory: string, run: EvaluationRun): EvaluationRun {
  const { done, asked } = run.progress;
  if (done === asked) return run;
  // A run's name begins with that of the folder.
  const folder = path.resolve(directory, '..', run.name);
  throw new Error(
    `${folder} is unfinished, since the slowest way has ${done} of ${plural(asked, 'task')}: give the same command of evaluate again, which goes on where it stopped.`,
  );
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
const [name, directory, ...texts] = process.argv.slice(2);
if (name === undefined || directory === undefined || !/^[\w-]+$/.test(name))
  throw new Error(
    `Usage: npx tsx scripts/study.ts NAME DIR [TEXT…]; there are ${readdirSync(path.join(root, 'docs/study')).join(', ')}`,
  );
const file = path.join(root, 'docs/study', `${name}.json`);
await writeFile(
  file,
  await format(JSON.stringify(await studyOf(directory, texts)), { ...(await resolveConfig(file)), filepath: file }),
);
