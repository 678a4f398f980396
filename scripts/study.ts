/**
 * `npx tsx scripts/study.ts NAME DIR`: keeps what came of a sweep as docs/study/NAME.json, out of which docs/guide.md is made.
 */
import { readdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import path from 'node:path';
import { format, resolveConfig } from 'prettier';
import type { SweptGroup } from '../protocol/events.ts';
import { findRuns, type TuningRun } from '../backend/evaluation/report/runs.ts';
import { groupsOf, sweptGroup } from '../backend/evaluation/report/groups.ts';

/** A sweep that is kept. */
export interface Study {
  readonly model: string;
  readonly layers: number;
  readonly processor: string;
  /** Options that all trials share, except for paths. */
  readonly options: Readonly<Record<string, unknown>>;
  /** In the order in which they were tried. */
  readonly groups: readonly SweptGroup[];
  readonly finalLoss: number;
}

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
  const tuned = findRuns([directory]).filter((run): run is TuningRun => run.kind === 'tuning' && run.isFinished);
  const [first] = tuned;
  if (!first) throw new Error(`${directory} has no finished run.`);
  const shared = told.filter((key) => new Set(tuned.map(({ options }) => JSON.stringify(options[key]))).size === 1);
  return {
    model: first.model,
    layers: first.layers,
    processor: cpus()[0]!.model.trim(),
    options: Object.fromEntries(shared.map((key) => [key, first.options[key]])),
    groups: groupsOf(tuned).map(sweptGroup),
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
