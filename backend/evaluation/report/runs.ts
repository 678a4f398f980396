/** Finds what a report can show: folders that tune, sweep and evaluate --tasks wrote, finished, unfinished or broken. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { describeError, userError } from '../../../protocol/errors.ts';
import type { ExitScore } from '../../../protocol/events.ts';
import { evaluationFile, type TaskScores } from '../../../protocol/tasks.ts';
import { isCheckpoint, metricsFile, openCheckpoint, positionFile, stateFolder } from '../../checkpoint/checkpoint.ts';
import { readPosition, type RunCost } from '../../checkpoint/state.ts';
import { exitId } from '../../exits/spec.ts';
import { readText } from '../../formats/files.ts';
import { readEvaluation, type Evaluation } from '../tasks/record.ts';
import { scoresOf } from '../tasks/scores.ts';

export interface TuningRun {
  readonly kind: 'tuning';
  readonly name: string;
  readonly model: string;
  readonly layers: number;
  readonly exits: readonly string[];
  readonly options: Readonly<Record<string, unknown>>;
  readonly isFinished: boolean;
  readonly updates: number;
  readonly tokens: number;
  readonly seconds: number;
  /** Absent of runs in PyTorch and of earlier versions. */
  readonly cost?: RunCost;
  readonly before: readonly ExitScore[];
  /** Of the values that were kept. */
  readonly scores: readonly ExitScore[];
  readonly evaluations: readonly {
    readonly step: number;
    readonly tokens: number;
    readonly scores: readonly ExitScore[];
  }[];
}

export interface EvaluationRun {
  readonly kind: 'evaluation';
  readonly name: string;
  readonly evaluation: Evaluation;
  readonly sets: readonly TaskScores[];
  readonly isFinished: boolean;
}

/** What cannot be read, and why. */
export interface BrokenRun {
  readonly kind: 'broken';
  readonly name: string;
  readonly why: string;
}

export type Run = TuningRun | EvaluationRun | BrokenRun;

/** Levels of folders below a given one in which runs are searched. */
const deepest = 3;

/** @throws UserError if a path does not exist, or contains no run. */
export function findRuns(paths: readonly string[]): Run[] {
  return paths.flatMap((path) => {
    if (!existsSync(path))
      throw userError(
        'not-found',
        `There is nothing at ${path}.`,
        'Name folders that tune, sweep or evaluate --tasks wrote.',
      );
    const found = within(path, basename(resolve(path)), deepest);
    if (found.length === 0)
      throw userError(
        'bad-argument',
        `${path} holds no run.`,
        'Name folders that tune, sweep or evaluate --tasks wrote, or a folder of such.',
      );
    return found;
  });
}

function within(folder: string, name: string, depth: number): Run[] {
  if (!statSync(folder).isDirectory()) return [];
  if (isCheckpoint(folder) || existsSync(join(folder, metricsFile))) return [read(name, () => tuningRun(folder, name))];
  if (existsSync(join(folder, evaluationFile))) return [read(name, () => evaluationRun(folder, name))];
  if (depth === 0) return [];
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.') && entry.name !== 'node_modules')
    .map((entry) => entry.name)
    .sort()
    .flatMap((each) => within(join(folder, each), `${name}/${each}`, depth - 1));
}

function read(name: string, from: () => Run): Run {
  try {
    return from();
  } catch (error) {
    return { kind: 'broken', name, why: describeError(error) };
  }
}

function tuningRun(folder: string, name: string): TuningRun {
  const checkpoint = openCheckpoint(folder, null);
  try {
    const { base, exits, tuning, progress } = checkpoint;
    const position = existsSync(join(folder, stateFolder, positionFile)) ? readPosition(folder) : null;
    return {
      kind: 'tuning',
      name,
      model: base.name,
      layers: base.layers,
      exits: exits.map(exitId),
      options: tuning,
      isFinished: position?.finished ?? true,
      updates: position?.step ?? progress.step,
      tokens: position?.tokens ?? progress.tokens,
      seconds: position?.seconds ?? 0,
      ...(position?.cost && { cost: position.cost }),
      before: position?.before ?? [],
      scores: progress.scores,
      evaluations: evaluationsOf(folder),
    };
  } finally {
    checkpoint.close();
  }
}

/** A last line that was cut off is left out. */
function evaluationsOf(folder: string): TuningRun['evaluations'] {
  const path = join(folder, metricsFile);
  if (!existsSync(path)) return [];
  return readText(path)
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as { type: string; step: number; tokens: number; scores: ExitScore[] })
    .filter(({ type }) => type === 'evaluation')
    .map(({ step, tokens, scores }) => ({ step, tokens, scores }));
}

function evaluationRun(folder: string, name: string): EvaluationRun {
  const evaluation = readEvaluation(folder);
  const sets = scoresOf(evaluation);
  const { ways } = evaluation.about;
  const isFinished = sets.every(
    ({ asked, ways: done, set }) =>
      done.every(({ tasks }) => tasks === asked) && done.length === (set.endsWith(': likelihood') ? 1 : ways.length),
  );
  return { kind: 'evaluation', name, evaluation, sets, isFinished };
}
