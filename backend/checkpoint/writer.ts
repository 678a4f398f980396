/**
 * Writes a checkpoint directory so that a kill at any moment leaves the previous state whole: every file is written under
 * a temporary name, synced and renamed; a new optimiser state counts once `state/state.json` names it.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import type { ExitScore } from '../../protocol/events.ts';
import type { ExitSpec } from '../exits/spec.ts';
import {
  fileError,
  makeFolder,
  openForWriting,
  readText,
  statOf,
  writeFileAtomically,
  writeWhole,
} from '../formats/files.ts';
import type { Lock } from '../formats/lock.ts';
import { bytesOf, openSafetensors, writeSafetensors, type TensorData } from '../formats/safetensors.ts';
import { modelCard } from './card.ts';
import {
  bad,
  cardFile,
  formatVersion,
  infoFile,
  metricsFile,
  parametersFile,
  positionFile,
  shortlistName,
  stateFolder,
  type CheckpointInfo,
  type Progress,
  type StepState,
} from './checkpoint.ts';
import { bestFile, isOfExit } from './continued.ts';
import { lockCheckpoint, reservePlace, type Place } from './place.ts';
import { writtenTuning } from './portable.ts';

/** The position of a run: together with the step's state, all that resuming needs. */
export interface TrainingPosition {
  /** Updates done. */
  readonly step: number;
  /** Windows taken so far; with the seed they fix the data's order. */
  readonly windows: number;
  /** Target tokens seen. */
  readonly tokens: number;
  /** Working time of the run so far, all sittings together. */
  readonly seconds: number;
  /** Lowest mean held-out loss of the run so far. */
  readonly best: number | null;
  /** Scores at the start. */
  readonly before: readonly ExitScore[];
  /** Hash of the windows tuned on. */
  readonly data: string;
  /** Whether the run reached its limit. */
  readonly finished: boolean;
  /** Updates at the last evaluation that belongs to the run; earlier versions did not write it. */
  readonly evaluatedAt?: number;
  /** What the end of the run took when it was last tried; earlier versions did not write it. */
  readonly ending?: Ending;
  /** Seconds at which updates began; earlier versions did not write it. */
  readonly updatesFrom?: number;
  /** Number of held-out tokens that are evaluated; earlier versions did not write it. */
  readonly heldOut?: { readonly tokens: number };
  /** What the cost of the run is computed from; earlier versions did not write it. */
  readonly cost?: RunCost;
}

/** How many parameters a run computes with, without embeddings. */
export interface ModelNumbers {
  /** Of the layers of the backbone that a token passes, with the head if its logits are needed. */
  readonly backbone: number;
  /** Of the whole model. */
  readonly whole: number;
  /** That are trained. */
  readonly trained: number;
}

export interface RunCost {
  readonly numbers: ModelNumbers;
  /** Most memory that the process has taken. */
  readonly peakBytes: number;
}

/** Seconds of an evaluation and of a saving, which the end of a run consists of. */
export interface Ending {
  readonly evaluation: number;
  readonly saving: number;
}

export interface CheckpointWriter {
  readonly directory: string;
  /** Appends a line to `metrics.jsonl`. */
  metric(line: Readonly<Record<string, unknown>>): void;
  /** Replaces the exits' parameters; those that are not given stay. */
  saveExits(parameters: ReadonlyMap<string, Float32Array>, progress: Progress): void;
  /** Replaces the state for resuming, which then refers to the metrics written so far (or to `metricsBytes` of them). */
  saveState(state: StepState, position: TrainingPosition, metricsBytes?: number): void;
  /** Bytes of `metrics.jsonl` so far. */
  metricsBytes(): number;
  /** Progress of the parameters on disk. */
  saved(): Progress;
  close(): void;
}

export interface NewCheckpoint {
  readonly info: CheckpointInfo;
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  readonly state: StepState;
  readonly progress: Progress;
  readonly position: TrainingPosition;
  /** First lines of `metrics.jsonl`. */
  readonly metrics: readonly Readonly<Record<string, unknown>>[];
  /** Writes what else must be there before the checkpoint is one. */
  readonly whole?: () => void;
}

/**
 * Makes a checkpoint, whole or not at all: `exits.json` is written last, and makes the folder a checkpoint.
 * @throws UserError `file-system` if it cannot be written, or exists already and is not empty.
 */
export function createCheckpoint(
  directory: string,
  start: NewCheckpoint,
  place: Place = reservePlace(directory),
): CheckpointWriter {
  let writer: CheckpointWriter | null = null;
  try {
    makeFolder(path.join(directory, stateFolder));
    writer = openWriter(directory, start.info, start.shapes, 0, start.progress, place.lock);
    for (const line of start.metrics) writer.metric(line);
    writer.saveState(start.state, start.position);
    start.whole?.();
    writer.saveExits(ofExits(start.state.parameters), start.progress);
    return writer;
  } catch (error) {
    writer?.close();
    place.abandon();
    throw fileError(error, 'write', directory);
  }
}

/**
 * Drops the optimiser's state of a run that is finished. Resuming then starts from the exits, with zero moments. Returns the number of
 * bytes that were freed, 0 if there was no state.
 * @throws UserError `bad-checkpoint` if there is no usable position, `busy` if another process is writing.
 */
export function dropState(directory: string): number {
  const lock = lockCheckpoint(directory);
  try {
    const state = readState(directory);
    if (state.file === null) return 0;
    const folder = path.join(directory, stateFolder);
    const bytes = statOf(path.join(folder, state.file))?.size ?? 0;
    // Its name is removed from the position first: a kill in between leaves a file that is never read, and that the next writer removes.
    const json = { version: formatVersion, ...state, file: null, updates: 0 };
    writeFileAtomically(path.join(folder, positionFile), [`${JSON.stringify(json, null, 2)}\n`]);
    removeLeftovers(directory, null);
    return bytes;
  } finally {
    lock.release();
  }
}

export interface Resumed {
  readonly position: TrainingPosition;
  readonly state: StepState;
}

/**
 * Opens a checkpoint directory to resume it; metrics beyond the saved state are removed.
 * @throws UserError `bad-checkpoint` if there is no usable state, `busy` if another process is writing it.
 */
export function resumeCheckpoint(
  directory: string,
  info: CheckpointInfo,
  shapes: ReadonlyMap<string, readonly number[]>,
  saved: Progress,
): Resumed & { readonly writer: CheckpointWriter } {
  const lock = lockCheckpoint(directory);
  try {
    const { file, metricsBytes, updates, position } = readState(directory);
    const state =
      file === null
        ? freshState(directory, shapes)
        : readStepState(path.join(directory, stateFolder, file), updates, shapes);
    const writer = openWriter(directory, info, shapes, metricsBytes, saved, lock);
    removeLeftovers(directory, file);
    return { position, state, writer };
  } catch (error) {
    lock.release();
    throw error;
  }
}

function openWriter(
  directory: string,
  info: CheckpointInfo,
  shapes: ReadonlyMap<string, readonly number[]>,
  metricsBytes: number,
  progress: Progress,
  lock: Lock,
): CheckpointWriter {
  const metricsPath = path.join(directory, metricsFile);
  let metrics: number;
  try {
    metrics = openForWriting(metricsPath, 'a');
    if (fs.fstatSync(metrics).size > metricsBytes) fs.ftruncateSync(metrics, metricsBytes);
  } catch (error) {
    throw fileError(error, 'write', metricsPath);
  }
  let saved = progress;
  const writeFailed = (error: unknown): Error => fileError(error, 'write', metricsPath);

  return {
    directory,
    saved: () => saved,
    metricsBytes: () => fs.fstatSync(metrics).size,
    metric(line) {
      try {
        writeWhole(metrics, Buffer.from(`${JSON.stringify(line)}\n`));
      } catch (error) {
        throw writeFailed(error);
      }
    },
    saveExits(parameters, next) {
      const own = ofExits(shapes);
      const file = path.join(directory, parametersFile);
      const all = parameters.size < own.size ? new Map([...readValues(file, own), ...parameters]) : parameters;
      writeExits(directory, info, all, own, next);
      saved = next;
    },
    saveState(state, position, bytes) {
      try {
        fs.fsyncSync(metrics);
      } catch (error) {
        throw writeFailed(error);
      }
      const file = `step-${position.step}-${Date.now().toString(36)}.safetensors`;
      writeSafetensors(path.join(directory, stateFolder, file), [
        ...floats('parameter.', state.parameters, shapes),
        ...floats('first.', state.firstMoments, shapes),
        ...floats('second.', state.secondMoments, shapes),
      ]);
      const json = {
        version: formatVersion,
        file,
        metricsBytes: bytes ?? fs.fstatSync(metrics).size,
        updates: state.updates,
        position,
      };
      writeFileAtomically(path.join(directory, stateFolder, positionFile), [`${JSON.stringify(json, null, 2)}\n`]);
      removeLeftovers(directory, file);
    },
    close() {
      fs.closeSync(metrics);
      lock.release();
    },
  };
}

/** Whether a parameter belongs to an exit, in a run that trains the whole model. */
const ofExits = <T>(all: ReadonlyMap<string, T>): Map<string, T> =>
  new Map([...all].filter(([name]) => isOfExit(name)));

/**
 * Writes all exits of a checkpoint and their metadata.
 * @throws UserError if a file cannot be written.
 */
export function writeExits(
  directory: string,
  info: CheckpointInfo,
  values: ReadonlyMap<string, Float32Array>,
  shapes: ReadonlyMap<string, readonly number[]>,
  progress: Progress,
): void {
  writeSafetensors(path.join(directory, parametersFile), [...floats('', values, shapes), ...lists(info.exits)], {
    format: 'early-exit',
    base_sha256: info.base.sha256,
    progress: JSON.stringify(progress),
  });
  writeFileAtomically(path.join(directory, infoFile), [infoText(directory, info, progress)]);
  writeFileAtomically(path.join(directory, cardFile), [modelCard(info, progress)]);
}

function infoText(directory: string, info: CheckpointInfo, progress: Progress): string {
  const exits = info.exits.map(({ layer, architecture, head }) => ({
    layer,
    architecture,
    head: head.kind === 'shortlist' ? { kind: head.kind, size: head.tokens.length } : head,
  }));
  const tuning = writtenTuning(directory, info.tuning);
  const json = { format: 'early-exit', version: formatVersion, ...info, tuning, exits, progress };
  return `${JSON.stringify(json, null, 2)}\n`;
}

function floats(
  prefix: string,
  values: ReadonlyMap<string, Float32Array>,
  shapes: ReadonlyMap<string, readonly number[]>,
): TensorData[] {
  return [...values].map(([name, data]) => {
    const shape = shapes.get(name);
    if (!shape) throw new Error(`${name} has no shape`);
    return { name: `${prefix}${name}`, type: 'F32', shape, bytes: bytesOf(data) };
  });
}

const lists = (exits: readonly ExitSpec[]): TensorData[] =>
  exits.flatMap((exit) => {
    if (exit.head.kind !== 'shortlist') return [];
    const tokens = Int32Array.from(exit.head.tokens);
    return [{ name: shortlistName(exit), type: 'I32' as const, shape: [tokens.length], bytes: bytesOf(tokens) }];
  });

function readState(directory: string): {
  /** Null if it was dropped. */
  file: string | null;
  metricsBytes: number;
  updates: number;
  position: TrainingPosition;
} {
  const file = path.join(directory, stateFolder, positionFile);
  let json: unknown;
  try {
    json = JSON.parse(readText(file));
  } catch (cause) {
    throw bad(directory, `the run cannot go on without ${path.join(stateFolder, positionFile)}`, cause);
  }
  const state = json as Partial<ReturnType<typeof readState>> | null;
  const { position } = state ?? {};
  const counts = [state?.metricsBytes, state?.updates, position?.step, position?.windows, position?.tokens];
  const sound =
    state !== null &&
    (state.file === null || (typeof state.file === 'string' && path.basename(state.file) === state.file)) &&
    counts.every((count) => Number.isSafeInteger(count) && count! >= 0) &&
    typeof position?.seconds === 'number' &&
    typeof position.data === 'string' &&
    typeof position.finished === 'boolean' &&
    (position.best === null || typeof position.best === 'number') &&
    Array.isArray(position.before) &&
    [position.updatesFrom, position.evaluatedAt].every((one) => ['number', 'undefined'].includes(typeof one)) &&
    (position.ending === undefined || Object.values(position.ending).every((one) => typeof one === 'number')) &&
    (position.heldOut === undefined || Number.isSafeInteger(position.heldOut.tokens)) &&
    (position.cost === undefined || isCost(position.cost));
  if (!sound) throw bad(file, 'it is not what this version writes');
  return state as ReturnType<typeof readState>;
}

function isCost(cost: Partial<RunCost> | null): boolean {
  const { backbone, whole, trained } = cost?.numbers ?? {};
  return [backbone, whole, trained, cost?.peakBytes].every((one) => typeof one === 'number' && one >= 0);
}

/** False if the optimiser's state was dropped. */
export const hasState = (directory: string): boolean => readState(directory).file !== null;

/** The position of the run in a directory. @throws UserError `bad-checkpoint` if there is no usable state. */
export const readPosition = (directory: string): TrainingPosition => readState(directory).position;

/** All parameters of a file. */
function readValues(file: string, shapes: ReadonlyMap<string, readonly number[]>): Map<string, Float32Array> {
  const source = openSafetensors(file);
  try {
    return new Map([...shapes.keys()].map((name) => [name, floatsOf(source.read(source.tensors.get(name)!))]));
  } finally {
    source.close();
  }
}

const floatsOf = (bytes: Uint8Array): Float32Array =>
  new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);

function readStepState(file: string, updates: number, shapes: ReadonlyMap<string, readonly number[]>): StepState {
  const source = openSafetensors(file);
  try {
    const read = (prefix: string): Map<string, Float32Array> => {
      const values = new Map<string, Float32Array>();
      for (const [name, shape] of shapes) {
        const tensor = source.tensors.get(`${prefix}${name}`);
        if (!tensor || tensor.shape.join() !== shape.join())
          throw bad(file, `${prefix}${name} is missing or misshapen`);
        values.set(name, floatsOf(source.read(tensor)));
      }
      return values;
    };
    return { updates, parameters: read('parameter.'), firstMoments: read('first.'), secondMoments: read('second.') };
  } finally {
    source.close();
  }
}

/** The exits as they are, with moments of no update. */
function freshState(directory: string, shapes: ReadonlyMap<string, readonly number[]>): StepState {
  const parameters = readValues(path.join(directory, parametersFile), shapes);
  const zeros = (): Map<string, Float32Array> =>
    new Map([...parameters].map(([name, { length }]) => [name, new Float32Array(length)]));
  return { updates: 0, parameters, firstMoments: zeros(), secondMoments: zeros() };
}

/** Older states and what a killed writer left under temporary names. */
function removeLeftovers(directory: string, current: string | null): void {
  const states = path.join(directory, stateFolder);
  for (const name of fs.readdirSync(states)) {
    if (name !== current && name !== positionFile && name !== bestFile)
      fs.rmSync(path.join(states, name), { force: true });
  }
  for (const name of fs.readdirSync(directory)) {
    if (/^\.(?!lock\b).*\.tmp$/.test(name)) fs.rmSync(path.join(directory, name), { force: true });
  }
}
