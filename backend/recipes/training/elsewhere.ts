/**
 * Tuning on PyTorch, on this machine or others. Everything is prepared as for a run here (text, exits, heads, options), written as a job,
 * and the job is followed. The result is a checkpoint like any other.
 */
import { rmSync } from 'node:fs';
import path from 'node:path';
import { UserError, userError } from '../../../protocol/errors.ts';
import type { TuneEvent } from '../../../protocol/events.ts';
import { meshText } from '../../../protocol/options/place.ts';
import { placeExits } from '../../../protocol/options/notations.ts';
import { requireWeights, type TuneOptions } from '../../../protocol/options/options.ts';
import { modelCard } from '../../checkpoint/card.ts';
import { jobFolder, openCheckpoint, readInfo, requireSameBase } from '../../checkpoint/checkpoint.ts';
import { cardFile, memoryFile, parametersFile } from '../../formats/our-folders.ts';
import { lockCheckpoint, reserveFolder } from '../../checkpoint/reserved-folder.ts';
import { writtenTuning } from '../../checkpoint/portable.ts';
import { followJob } from '../../cluster/follow.ts';
import type { JobHandle } from '../../cluster/handle.ts';
import { writeJob } from '../../cluster/job.ts';
import { learningRateOf } from '../../tuning/schedule.ts';
import { findJob, isStarted, runningJob, startJob, stopJob } from '../../cluster/launch.ts';
import { findPython } from '../../cluster/python.ts';
import type { FinishedEvent } from '../../cluster/reported.ts';
import { statOf, writeFileAtomically } from '../../system/files.ts';
import { requireTrainable } from '../../cluster/trainable.ts';
import { inStreamOrder } from '../opening/backbone.ts';
import { readyEvent } from '../reporting.ts';
import { exitsToContinue, isContinued, publish, requireReplicas, requireRoom } from './continued.ts';
import { continuedText } from '../calibrating/measured-text.ts';
import { identify, openWithTokenizer } from '../opening/opened.ts';
import { findText, readText, windowsOf } from '../text.ts';
import { inspectRemote, sourcesFolder, type Remote } from './remote.ts';
import { warnUncalibrated } from '../calibrating/calibrate-short.ts';
import { untilLate } from './deadline.ts';
import {
  otherText,
  settingOf,
  trainingRun,
  type Learner,
  type RunSetting,
  type Sitting,
  type Trained,
} from './training-run.ts';
import { endOf, optionsText, resumedEnd } from './options.ts';
import { bare, withHeads } from './parts.ts';

/** How long stopping a run waits for its job, or the launcher, to answer; then the command ends, and the job continues on its own. */
const patienceMilliseconds = 3_000;

/**
 * Begins or resumes a run on other machines; a job that is still running is found and followed.
 * @throws UserError as `tune` does, and if the launcher is missing, or a rank fails.
 */
export const tuneElsewhere = (given: TuneOptions, signal: AbortSignal): AsyncGenerator<TuneEvent, void> =>
  trainingRun(given, signal, learnElsewhere);

const learnElsewhere: Learner = async function* (sitting, signal) {
  const following: Following = { directory: null };
  try {
    return yield* untilLate(sit(sitting, following, signal), signal, patienceMilliseconds);
  } catch (error) {
    if (error === signal.reason && following.directory !== null)
      yield {
        type: 'warning',
        message: `The job in ${following.directory} was asked to stop and has not ended yet; --resume waits for it.`,
      };
    else if (following.directory !== null && error instanceof UserError && error.code === 'network')
      yield {
        type: 'warning',
        message: `The job in ${following.directory} may go on by itself; --resume follows it.`,
      };
    signal.throwIfAborted();
    throw error;
  }
};

/** The folder of the job that is followed, if one is. */
interface Following {
  directory: string | null;
}

async function* sit(
  sitting: Sitting,
  following: Following,
  signal: AbortSignal,
): AsyncGenerator<TuneEvent, Trained | null> {
  const { given, atEnd } = sitting;
  const found = given.resume && given.out !== null ? yield* findJob(given.out, given.on, signal) : null;
  const begun = found && given.out !== null ? { directory: given.out, handle: found } : null;
  if (begun) {
    const lock = lockCheckpoint(begun.directory);
    atEnd(() => lock.release());
  }
  const { directory, handle } = begun ?? (yield* begin(sitting, signal));
  if (handle.kind === 'slurm' && !begun) {
    const script = path.join(path.resolve(directory), jobFolder, 'job.sh');
    yield {
      type: 'warning',
      message: `Submit ${script} with sbatch, then follow it with --on slurm --out ${directory} --resume.`,
    };
    return null;
  }
  if (handle.kind === 'slurm') yield { type: 'phase', phase: 'load', detail: 'the job, once Slurm has begun it' };
  following.directory = directory;
  const ended = yield* follow(directory, handle, signal);
  following.directory = null;
  const trained = await finish(directory, ended, given);
  if (lacksMemories(directory)) yield { type: 'warning', message: withoutMemories };
  return trained;
}

async function* follow(
  directory: string,
  handle: JobHandle,
  signal: AbortSignal,
): AsyncGenerator<TuneEvent, FinishedEvent> {
  const job = runningJob(directory, handle);
  try {
    return yield* followJob(job, signal, () => stopJob(directory, handle, job.hasState()));
  } catch (error) {
    // A user who stops a job that still waits in a queue learns that it is still there.
    if (signal.aborted && handle.kind === 'slurm' && error instanceof UserError)
      yield { type: 'warning', message: error.message };
    throw error;
  }
}

interface Begun {
  readonly directory: string;
  readonly handle: JobHandle;
}

async function* begin(sitting: Sitting, signal: AbortSignal): AsyncGenerator<TuneEvent, Begun> {
  const { given, atEnd } = sitting;
  // Before minutes go into text: without PyTorch nothing comes of it.
  if (given.on.kind === 'torchrun' && given.on.hosts.length === 0) await findPython(signal);
  const setting = settingOf(given);
  const { earlier, options, directory } = setting;
  if (!earlier && (yield* findJob(directory, given.on, signal)))
    throw userError(
      'busy',
      `A job of PyTorch is under way in ${directory}.`,
      'Follow it with --resume, or name another folder (--out).',
    );
  const folder = earlier ? null : reserveFolder(directory);
  const lock = folder?.lock ?? lockCheckpoint(directory);
  atEnd(() => {
    // Files that the job has written belong to it, also if it failed: its log has the reason.
    if (!isStarted(directory)) folder?.abandon();
    lock.release();
  });
  if (options.continuePretraining !== null && !earlier) requireRoom(directory);
  yield* warnUncalibrated(options);
  const { mesh, gpusOfNode } = yield* prepare(setting, sitting, signal);
  signal.throwIfAborted();
  return { directory, handle: await startJob(directory, { place: options.on, mesh, gpusOfNode }, signal) };
}

/** Writes the job of a run; returns what is known of the machines that run it. */
async function* prepare(
  { options, directory, earlier }: RunSetting,
  { given, atEnd }: Sitting,
  signal: AbortSignal,
): AsyncGenerator<TuneEvent, Remote> {
  const found = findText(options.data);
  yield { type: 'phase', phase: 'load', detail: options.model };
  // Before minutes go into its text: PyTorch does not tune every model.
  requireTrainable(options.model);
  const { model, tokenizer } = openWithTokenizer(options.model);
  atEnd(() => model.close());
  const { spec } = model;
  const base = await identify(model, signal);
  const continues = options.continuePretraining !== null;
  // A run that trains the whole model has its weights in its state.
  if (earlier && !continues) requireSameBase(directory, earlier.info.base, base);
  const begun = continues && !earlier ? exitsToContinue(options, base) : null;
  begun?.close();
  const tuned = earlier?.info.exits ?? begun?.exits;
  const places = inStreamOrder(tuned ?? bare(placeExits(options.exits, spec.layers.length)));
  requireWeights(options.exitWeights, places.length);
  // The exits that it began with may be gone.
  const planned = earlier && continues ? { ...options, continuePretraining: directory } : options;
  const remote = await inspectRemote(planned, model, directory, signal);
  const { mesh } = remote;
  if (continues) requireReplicas(mesh);
  if (remote.note !== null) yield { type: 'warning', message: remote.note };
  for (const message of begun ? continuedText(options, begun.tuning) : []) yield { type: 'warning', message };
  yield readyEvent(model, places, `PyTorch, ${meshText(mesh)}`);
  const sets = yield* readText(found, options, tokenizer, spec, ['train', 'heldOut'], signal);
  atEnd(() => sets.close());
  const windows = windowsOf(sets, 'train');
  if (earlier && earlier.position.data !== windows.hash) throw otherText(directory);
  const exits = tuned ? places : await withHeads(places, options, model, windows, signal);
  const limits = earlier ? resumedEnd(options, given, earlier.position, windows.count) : endOf(options);
  writeJob({
    directory,
    model: model.path,
    onRanks: remote.model,
    spec,
    parameters: model.parameters,
    base,
    exits,
    continues: continues ? path.join(begun?.directory ?? directory, parametersFile) : null,
    text: {
      train: sets.train!.file,
      heldOut: sets.heldOut!.file,
      heldOutTokens: earlier?.heldOutTokens ?? options.evaluationTokens,
      hash: windows.hash,
    },
    options: { ...options, learningRate: learningRateOf(options, spec) },
    tuning: writtenTuning(directory, {
      ...optionsText(options),
      ...(continues && { model: path.resolve(model.path) }),
    }),
    limits,
    mesh,
    resume: earlier !== null,
    sources: sourcesFolder(),
  });
  return remote;
}

/** The checkpoint is complete: its card is written, and the job's files are removed. */
async function finish(directory: string, ended: FinishedEvent, given: TuneOptions): Promise<Trained> {
  const newModel = isContinued(readInfo(directory)) ? await publish(directory) : undefined;
  const checkpoint = openCheckpoint(directory, null);
  checkpoint.close();
  writeFileAtomically(path.join(directory, cardFile), [modelCard(checkpoint, checkpoint.progress)]);
  // The launchers, which end now, have the log open: over NFS its folder cannot go before they have.
  rmSync(path.join(directory, jobFolder), { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  const { model, data } = checkpoint.tuning;
  const { step, seconds, stopped } = ended;
  return {
    directory,
    model: typeof model === 'string' ? model : given.model,
    data: Array.isArray(data) ? data.map(String) : given.data,
    step,
    before: [...ended.before],
    after: [...ended.after],
    seconds,
    stopped,
    ...(newModel !== undefined && { newModel, whole: true }),
  };
}

/** Whether exits lack what a fit here would have given them. */
function lacksMemories(directory: string): boolean {
  const info = readInfo(directory);
  return info.tuning['initialise'] === 'fit' && !isContinued(info) && statOf(path.join(directory, memoryFile)) === null;
}

const withoutMemories =
  'PyTorch fits no memories of exits and no trust in the text, so these exits save less time than exits that are tuned here (--on here).';
