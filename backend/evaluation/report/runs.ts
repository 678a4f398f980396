/** Finds what a report can show: folders that tune, sweep and evaluate --tasks wrote, finished, unfinished or broken. */
import { existsSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { describeError, userError } from '../../../protocol/errors.ts';
import type { ExitScore } from '../../../protocol/events.ts';
import { count, figure, list, number, readMessage, record, text } from '../../../protocol/shapes.ts';
import { evaluationFile, fullDepth, type TaskScores } from '../../../protocol/tasks.ts';
import { isCheckpoint, metricsFile, openCheckpoint, positionFile, stateFolder } from '../../checkpoint/checkpoint.ts';
import { readPosition, type RunCost } from '../../checkpoint/state.ts';
import { exitId } from '../../exits/spec.ts';
import { fileError, readText } from '../../system/files.ts';
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
  /** Tasks that the slowest way has answered, of those of its set; of the set that is the farthest from done. */
  readonly progress: { readonly done: number; readonly asked: number };
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

/** Each run once, however many of the paths lead to it. @throws UserError if a path does not exist, or contains no run. */
export function findRuns(paths: readonly string[]): Run[] {
  const known = new Set<string>();
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
    return found.filter(({ place }) => !known.has(place) && known.add(place)).map(({ read }) => read());
  });
}

interface Found {
  /** The real path of its folder. */
  readonly place: string;
  readonly read: () => Run;
}

function within(folder: string, name: string, depth: number): Found[] {
  const found = (from: (folder: string, name: string) => Run): Found[] => [
    { place: realPathOf(folder), read: () => readable(name, () => from(folder, name)) },
  ];
  try {
    if (!statSync(folder).isDirectory()) return [];
    if (isCheckpoint(folder) || existsSync(join(folder, metricsFile))) return found(tuningRun);
    if (existsSync(join(folder, evaluationFile))) return found(evaluationRun);
    if (depth === 0) return [];
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.') && entry.name !== 'node_modules')
      .map((entry) => entry.name)
      .sort()
      .flatMap((each) => within(join(folder, each), `${name}/${each}`, depth - 1));
  } catch (error) {
    return found(() => {
      throw fileError(error, 'read', folder);
    });
  }
}

function realPathOf(folder: string): string {
  try {
    return realpathSync(folder);
  } catch {
    return resolve(folder);
  }
}

function readable(name: string, from: () => Run): Run {
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
      before: readMessage(join(folder, stateFolder, positionFile), scoresShape, position?.before ?? []),
      scores: readMessage(folder, scoresShape, progress.scores),
      evaluations: evaluationsOf(folder),
    };
  } finally {
    checkpoint.close();
  }
}

const scoresShape = list(
  record<Omit<ExitScore, 'reliability'>, Required<Pick<ExitScore, 'reliability'>>>(
    { exit: text, layer: count, loss: figure, perplexity: figure, accuracy: figure, agreement: figure },
    { reliability: list(record({ tokens: count, confidence: number, agreement: number })) },
  ),
);
const evaluationShape = record({ step: count, tokens: count, scores: scoresShape });

/** A last line that was cut off is left out. @throws UserError for a line that is no evaluation with scores. */
export function evaluationsOf(folder: string): TuningRun['evaluations'] {
  const path = join(folder, metricsFile);
  if (!existsSync(path)) return [];
  return readText(path)
    .split('\n')
    .slice(0, -1)
    .map((line, i) => ({ event: JSON.parse(line) as { type?: unknown } | null, place: `${path}:${i + 1}` }))
    .filter(({ event }) => event?.type === 'evaluation')
    .map(({ event, place }) => readMessage(place, evaluationShape, event));
}

function evaluationRun(folder: string, name: string): EvaluationRun {
  const evaluation = readEvaluation(folder);
  const sets = scoresOf(evaluation);
  const ofSets = sets.map(({ set, asked, ways }) => {
    // Likelihoods are read at full depth alone.
    const wanted = set.endsWith(': likelihood') ? [fullDepth] : evaluation.about.ways;
    const done = wanted.map((way) => ways.find((each) => each.way === way)?.tasks ?? 0);
    return { done: Math.min(...done), asked };
  });
  const [progress = { done: 0, asked: 0 }] = ofSets.sort((a, b) => a.done / a.asked - b.done / b.asked);
  return { kind: 'evaluation', name, evaluation, sets, progress };
}
