/** Tunes once for every trial of a sweep, and reports the results over seeds. */
import { existsSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describeError, userError } from '../../protocol/errors.ts';
import type { ExitScore, SweepEvent, SweptGroup, TuneEvent } from '../../protocol/events.ts';
import { parseOptions, type SweepOptions, type TuneOptions } from '../../protocol/options/options.ts';
import { shippedModel } from '../../protocol/options/groups.ts';
import { sweepFile } from '../../protocol/tasks.ts';
import { isCheckpoint, jobFolder, openCheckpoint } from '../checkpoint/checkpoint.ts';
import { isStarted } from '../cluster/launch.ts';
import { readPosition } from '../checkpoint/state.ts';
import { groupsOf, sweptGroup } from '../evaluation/report/groups.ts';
import { findRuns, type TuningRun } from '../evaluation/report/runs.ts';
import { readTrials, type Trial } from '../evaluation/sweep-file.ts';
import { makeFolder, readText, writeFileAtomically, writing } from '../system/files.ts';
import { lockOrRefuse } from '../system/lock.ts';
import { calibrateShort } from './calibrating/calibrate-short.ts';
import { modelOfExits } from './opening/exits-model.ts';
import { packageRoot } from './installation.ts';
import { tuneAnywhere } from './training/anywhere.ts';
import { keepLean } from './training/lean.ts';
import { calibrationLimit } from './training/plan.ts';

/** @throws UserError if the file is no sweep, or the folder belongs to another; the signal's reason if it was aborted. */
export async function* sweep(options: SweepOptions, signal: AbortSignal): AsyncGenerator<SweepEvent, void> {
  const { file } = options;
  if (file === null)
    throw userError('bad-argument', 'No sweep file is named.', 'Name its file: early-exit sweep FILE.json.');
  const trials = readTrials(file);
  const directory = options.out ?? `${basename(file).replace(/\.json$/, '')}.sweep`;
  writing(directory, () => makeFolder(directory));
  const lock = lockOrRefuse(join(directory, 'lock'), (pid) =>
    userError('busy', `Process ${pid} sweeps into ${directory}.`, 'Wait for it, or give another folder with --out.'),
  );
  try {
    keep(directory, trials);
    const failed: { name: string; message: string }[] = [];
    for (const [i, trial] of trials.entries()) {
      const { name, what } = trial;
      const about = { type: 'trial', name, number: i + 1, total: trials.length, what } as const;
      const folder = folderOf(directory, trial);
      try {
        const wasDone = isTuned(folder) && !lacksCalibration(folder);
        if (!wasDone) yield { type: 'phase', phase: 'tune', detail: `${i + 1} of ${trials.length}: ${what}` };
        if (!wasDone) yield* run(trial, folder, signal);
        yield { ...about, state: wasDone ? 'earlier' : 'finished', message: null, scores: scoresIn(folder) };
      } catch (error) {
        if (signal.aborted) throw error;
        const message = describeError(error);
        failed.push({ name: `${name} (${what})`, message });
        yield { ...about, state: 'failed', message, scores: [] };
      }
      signal.throwIfAborted();
    }
    yield { type: 'swept', directory, groups: groupsIn(directory, trials), failed };
  } finally {
    lock.release();
  }
}

const folderOf = (directory: string, { name }: Trial): string => join(directory, `${name}.exits`);
/** A job elsewhere ends before what it wrote is complete: the command that follows it does the rest. */
const isTuned = (folder: string): boolean =>
  isCheckpoint(folder) && readPosition(folder).finished && !isStarted(folder);

/** Whether a trial that is tuned was stopped before its exits were calibrated, or failed at that. */
function lacksCalibration(folder: string): boolean {
  if (readPosition(folder).calibrates !== true) return false;
  const exits = openCheckpoint(folder, null);
  exits.close();
  return exits.calibration === null;
}

/** What is swept is written down once; the folder is for nothing else. */
function keep(directory: string, trials: readonly Trial[]): void {
  const path = join(directory, sweepFile);
  const text = `${JSON.stringify({ format: 1, trials }, null, 2)}\n`;
  if (existsSync(path) && readText(path) !== text)
    throw userError(
      'bad-argument',
      `${directory} holds another sweep.`,
      'Give another folder with --out, or remove that one.',
    );
  writeFileAtomically(path, [text]);
}

/** Begins a trial, or resumes one that was stopped, to its own end; it keeps its work if the signal is aborted, and throws the signal's reason. */
async function* run(trial: Trial, folder: string, signal: AbortSignal): AsyncGenerator<SweepEvent, void> {
  const goesOn = isCheckpoint(folder);
  // A folder that is not yet a checkpoint was left by a kill; a job of other machines may still be at work in it.
  if (!goesOn && !existsSync(join(folder, jobFolder))) rmSync(folder, { recursive: true, force: true });
  const given = parseOptions('tune', trial.given);
  // Exits whose model is trained further know that model.
  const isShipped = given.model === shippedModel && given.continuePretraining === null;
  const model = isShipped ? join(packageRoot(), 'models', shippedModel) : given.model;
  const options: TuneOptions = goesOn
    ? parseOptions('tune', {
        model,
        out: folder,
        resume: true,
        device: given.device,
        exitDevice: given.exitDevice,
        gpuLayers: given.gpuLayers,
        threads: given.threads,
        ...placeOf(trial),
        tensorboard: given.tensorboard,
      })
    : { ...given, model, out: folder };
  const events = isTuned(folder) ? calibrateTuned(given, folder, signal) : tuneAnywhere(options, signal);
  for await (const event of events) {
    if (event.type === 'progress' || event.type === 'warning') yield event;
    if (event.type === 'step') {
      const { step, steps, secondsLeft } = event;
      yield { type: 'progress', phase: 'tune', done: step, total: steps, unit: 'updates', secondsLeft };
    }
  }
  signal.throwIfAborted();
}

/** Calibrates the exits of a run that is tuned, in the time that was left for that. */
async function* calibrateTuned(
  options: TuneOptions,
  folder: string,
  signal: AbortSignal,
): AsyncGenerator<TuneEvent, void> {
  const { end, seconds } = readPosition(folder);
  const model = await modelOfExits(folder, signal);
  yield* calibrateShort(
    { ...options, model },
    folder,
    calibrationLimit(options, (end?.seconds ?? 0) - seconds),
    signal,
  );
  if (!signal.aborted) yield* keepLean(folder, options.keepState);
}

/** Where a trial runs, as its file says. */
const placeOf = ({ given }: Trial): Record<string, unknown> =>
  Object.fromEntries(['on', 'mesh', 'modelThere'].flatMap((name) => (name in given ? [[name, given[name]]] : [])));

function scoresIn(folder: string): ExitScore[] {
  const [found] = findRuns([folder]);
  return found?.kind === 'tuning' ? [...found.scores] : [];
}

/** Of the trials that are tuned; one that cannot be read was said to have failed. */
function groupsIn(directory: string, trials: readonly Trial[]): SweptGroup[] {
  const runs = trials.flatMap((trial) => {
    const folder = folderOf(directory, trial);
    try {
      return isTuned(folder) ? findRuns([folder]) : [];
    } catch {
      return [];
    }
  });
  return groupsOf(runs.filter((found): found is TuningRun => found.kind === 'tuning')).map(sweptGroup);
}
