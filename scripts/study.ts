/**
 * `npx tsx scripts/study.ts NAME DIR`: keeps what runs say, of a sweep or of tasks that were judged, as docs/study/NAME.json, out of which
 * docs/guide.md is made.
 */
import { readdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import path from 'node:path';
import { format, resolveConfig } from 'prettier';
import type { TaskScores } from '../protocol/tasks.ts';
import type { SweptGroup } from '../protocol/events.ts';
import { findRuns, type EvaluationRun, type TuningRun } from '../backend/evaluation/report/runs.ts';
import { sweptGroups } from '../backend/evaluation/report/tuning-figures.ts';

export type Study =
  | {
      readonly kind: 'sweep';
      readonly model: string;
      readonly layers: number;
      readonly processor: string;
      /** Those that all trials have, but for where things lie. */
      readonly options: Readonly<Record<string, unknown>>;
      /** In the order in which they were tried. */
      readonly groups: readonly SweptGroup[];
      readonly finalLoss: number;
    }
  | {
      readonly kind: 'tasks';
      readonly model: string;
      readonly exits: readonly string[];
      readonly processor: string;
      readonly margin: number;
      readonly sets: readonly TaskScores[];
    };

/** What a reader needs to repeat a sweep. */
const told = [
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
  'evaluationTokens',
];

function studyOf(directory: string): Study {
  const runs = findRuns([directory]);
  const tuned = runs.filter((run): run is TuningRun => run.kind === 'tuning' && run.isFinished);
  const judged = runs.filter((run): run is EvaluationRun => run.kind === 'evaluation');
  const [evaluation] = judged;
  if (evaluation) {
    const { identity, about } = evaluation.evaluation;
    const { model, exits } = identity;
    return { kind: 'tasks', model, exits, processor: about.processor, margin: about.margin, sets: evaluation.sets };
  }
  const [first] = tuned;
  if (!first) throw new Error(`${directory} has no finished run.`);
  const shared = told.filter((key) => new Set(tuned.map(({ options }) => JSON.stringify(options[key]))).size === 1);
  return {
    kind: 'sweep',
    model: first.model,
    layers: first.layers,
    processor: cpus()[0]!.model.trim(),
    options: Object.fromEntries(shared.map((key) => [key, first.options[key]])),
    groups: sweptGroups(tuned),
    finalLoss: first.scores.find(({ exit }) => exit === 'final')!.loss,
  };
}

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
