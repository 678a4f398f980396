/**
 * The frame of every training run: its options and folder, beginning or resuming, what it keeps open, and its end. The learners are exits
 * (tune.ts), a whole model (pretrain.ts), and either of them in PyTorch (elsewhere.ts).
 */
import { readdirSync } from 'node:fs';
import { userError, type UserError } from '../../../protocol/errors.ts';
import { closeAll, type Close } from '../opening/closing.ts';
import type { ExitScore, TuneEvent } from '../../../protocol/events.ts';
import type { TuneOptions } from '../../../protocol/options/options.ts';
import { openCheckpoint, type CheckpointInfo, type Progress, type StepState } from '../../checkpoint/checkpoint.ts';
import { reserveFolder, type ReservedFolder } from '../../checkpoint/reserved-folder.ts';
import { readPosition, type RunLimits, type TrainingPosition } from '../../checkpoint/state.ts';
import { resumeCheckpoint, type CheckpointWriter } from '../../checkpoint/writer.ts';
import { defaultDirectory, noRunToResume, resumedOptions } from './options.ts';

/** One sitting of a run: from the command to its end. */
export interface Sitting {
  readonly given: TuneOptions;
  /** Seconds since the sitting began. */
  readonly elapsed: () => number;
  /** What is closed when the sitting ends, however it ends; last in, first out. */
  readonly atEnd: (close: Close) => void;
}

/** What a learner reports when it is done. */
export interface Trained extends Pick<TunedEvent, 'before' | 'after' | 'step' | 'seconds' | 'stopped' | 'whole'> {
  readonly directory: string;
  readonly model: string;
  readonly data: readonly string[];
  /** The folder of the new model, if there is one. */
  readonly newModel?: string;
  /** What follows the run when everything that it opened is closed. */
  readonly afterwards?: () => AsyncGenerator<TuneEvent, void>;
}

type TunedEvent = Extract<TuneEvent, { type: 'tuned' }>;

/** Begins or resumes, and learns until the run's end; null if the user must submit the run first (Slurm). */
export type Learner = (sitting: Sitting, signal: AbortSignal) => AsyncGenerator<TuneEvent, Trained | null>;

/** Runs a learner from its first event to `tuned`. */
export async function* trainingRun(
  given: TuneOptions,
  signal: AbortSignal,
  learn: Learner,
): AsyncGenerator<TuneEvent, void> {
  const began = performance.now();
  const closing: Close[] = [];
  const sitting: Sitting = {
    given,
    elapsed: () => (performance.now() - began) / 1000,
    atEnd: (each) => void closing.push(each),
  };
  try {
    const trained = yield* learn(sitting, signal);
    if (trained === null) return;
    const { newModel, afterwards, data, before, after, ...rest } = trained;
    for (const folder of [...(newModel === undefined ? [] : [newModel]), trained.directory]) yield saved(folder);
    await closeAll(closing);
    if (afterwards) yield* afterwards();
    yield { type: 'tuned', ...rest, data: [...data], before: [...before], after: [...after] };
  } finally {
    await closeAll(closing);
  }
}

const saved = (folder: string): TuneEvent => ({
  type: 'saved',
  path: folder,
  files: readdirSync(folder).filter((name) => !name.startsWith('.')),
});

/** A run to go on with. */
export interface Earlier {
  readonly directory: string;
  readonly info: CheckpointInfo;
  readonly position: TrainingPosition;
  readonly heldOutTokens: number | null;
}

/** A run's options and folder. */
export interface RunSetting {
  /** The options with which the run began, if it is resumed. */
  readonly options: TuneOptions;
  readonly directory: string;
  readonly earlier: Earlier | null;
}

/** @throws UserError if the run to resume cannot be read, or the options are those of another run. */
export function settingOf(given: TuneOptions): RunSetting {
  const earlier = given.resume ? readEarlier(given.out) : null;
  const options = earlier ? resumedOptions(earlier.directory, earlier.info, given) : given;
  return { earlier, options, directory: earlier?.directory ?? given.out ?? defaultDirectory(options.model) };
}

/** Makes and locks the folder of a new run. Null if a run is resumed: its checkpoint is locked when it is read. */
export function claimFolder({ earlier, directory }: RunSetting, { atEnd }: Sitting): ReservedFolder | null {
  if (earlier) return null;
  const folder = reserveFolder(directory);
  atEnd(() => folder.abandon());
  return folder;
}

/** @throws UserError if there is no run in `directory`, or it cannot be read. */
export function readEarlier(directory: string | null): Earlier {
  if (directory === null) throw noRunToResume();
  const info = openInfo(directory);
  const position = readPosition(directory);
  return { directory, info, position, heldOutTokens: position.heldOut?.tokens ?? null };
}

export function openInfo(directory: string): CheckpointInfo {
  const opened = openCheckpoint(directory, null);
  opened.close();
  return opened;
}

/** The state of a run before its first update. `best`: its loss, in the learner's measure of the best values. */
export const firstPosition = (
  { before, best, data, heldOutTokens }: FirstScores,
  seconds: number,
): TrainingPosition => ({
  step: 0,
  windows: 0,
  tokens: 0,
  seconds,
  best,
  before,
  data,
  finished: false,
  updatesFrom: seconds,
  heldOut: { tokens: heldOutTokens },
});

export interface FirstScores {
  readonly before: readonly ExitScore[];
  readonly best: number;
  /** Hash of the text that is learned from. */
  readonly data: string;
  readonly heldOutTokens: number;
}

export interface Resumed {
  readonly checkpoint: CheckpointWriter;
  readonly state: StepState;
  readonly position: TrainingPosition;
}

/**
 * An interrupted run, from its checkpoint; its folder is locked. `end`: see `furtherEnd`.
 * @throws UserError if the text has changed, since the order of its windows would change, too.
 */
export function resumeRun(
  { directory, info }: Pick<Earlier, 'directory' | 'info'>,
  shapes: ReadonlyMap<string, readonly number[]>,
  progress: Progress,
  data: string,
  end: RunLimits | null,
): Resumed {
  const { position, state, writer } = resumeCheckpoint(directory, info, shapes, progress);
  // A run that goes on beyond its end needs windows that it has not seen.
  const further = { ...position, ...(position.finished && { finished: false, pool: null }), ...(end && { end }) };
  if (position.data === data) return { checkpoint: writer, state, position: further };
  writer.close();
  throw otherText(directory);
}

/** For a run that is resumed with another text: the order of its windows would be another one, too. */
export const otherText = (directory: string): UserError =>
  userError(
    'bad-data',
    `The text is not the text that the run in ${directory} began with, or its tokenizer has changed.`,
    'Restore it, or begin a new run with another --out.',
  );
