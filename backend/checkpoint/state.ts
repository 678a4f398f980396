/**
 * The state from which a run resumes: its position, and the parameters and moments of its step. A new one is written in writer.ts. Knows no
 * runtime.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import type { ExitScore } from '../../protocol/events.ts';
import { readText, statOf, writeFileAtomically } from '../system/files.ts';
import { parametersFile } from '../formats/our-folders.ts';
import { openSafetensors } from '../formats/safetensors.ts';
import { bad, formatVersion, positionFile, stateFolder, type StepState } from './checkpoint.ts';
import { bestFile } from './continued.ts';
import { lockCheckpoint } from './reserved-folder.ts';

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
  /** The limits of a run that has planned its minutes, or was resumed with further ones; absent: those of its options. */
  readonly end?: RunLimits;
  /** Whether its exits are calibrated once it is finished; earlier versions did not write it. */
  readonly calibrates?: boolean;
  /** Updates at the last evaluation that belongs to the run; earlier versions did not write it. */
  readonly evaluatedAt?: number;
  /** What the end of the run took when it was last tried; earlier versions did not write it. */
  readonly ending?: Ending;
  /** Seconds at which updates began; earlier versions did not write it. */
  readonly updatesFrom?: number;
  /** Windows that the run takes again and again, see `windowsAt`; null or absent: all. */
  readonly pool?: number | null;
  /** Number of held-out tokens that are evaluated; earlier versions did not write it. */
  readonly heldOut?: { readonly tokens: number };
  /** What the cost of the run is computed from; earlier versions did not write it. */
  readonly cost?: RunCost;
}

/** The limits of a run; the first that is reached ends it. */
export interface RunLimits {
  readonly steps: number | null;
  readonly epochs: number | null;
  /** Working time of the run, all sittings together. */
  readonly seconds: number | null;
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

/** `state/state.json`: the file of the step's state, and the position of the run. */
interface StoredState {
  /** Null if it was dropped. */
  readonly file: string | null;
  readonly metricsBytes: number;
  readonly updates: number;
  readonly position: TrainingPosition;
}

/** @throws UserError `bad-checkpoint` if there is no usable state. */
export function readState(directory: string): StoredState {
  const file = path.join(directory, stateFolder, positionFile);
  let json: unknown;
  try {
    json = JSON.parse(readText(file));
  } catch (cause) {
    throw bad(directory, `the run cannot go on without ${path.join(stateFolder, positionFile)}`, cause);
  }
  const state = json as Partial<StoredState> | null;
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
    ((position.pool ?? null) === null || (Number.isSafeInteger(position.pool) && position.pool! > 0)) &&
    [position.updatesFrom, position.evaluatedAt].every((one) => ['number', 'undefined'].includes(typeof one)) &&
    ['boolean', 'undefined'].includes(typeof position.calibrates) &&
    (position.end === undefined || isLimits(position.end)) &&
    (position.ending === undefined || Object.values(position.ending).every((one) => typeof one === 'number')) &&
    (position.heldOut === undefined || Number.isSafeInteger(position.heldOut?.tokens)) &&
    (position.cost === undefined || isCost(position.cost));
  if (!sound) throw bad(file, 'it is not what this version writes');
  return state as StoredState;
}

const isLimits = (end: Partial<RunLimits> | null): boolean =>
  [end?.steps, end?.epochs, end?.seconds].every((one) => one === null || (typeof one === 'number' && one >= 0));

function isCost(cost: Partial<RunCost> | null): boolean {
  const { backbone, whole, trained } = cost?.numbers ?? {};
  return [backbone, whole, trained, cost?.peakBytes].every((one) => typeof one === 'number' && one >= 0);
}

/** False if the optimiser's state was dropped. */
export const hasState = (directory: string): boolean => readState(directory).file !== null;

/** The position of the run in a directory. @throws UserError `bad-checkpoint` if there is no usable state. */
export const readPosition = (directory: string): TrainingPosition => readState(directory).position;

/** All parameters of a file. */
export function readValues(file: string, shapes: ReadonlyMap<string, readonly number[]>): Map<string, Float32Array> {
  const source = openSafetensors(file);
  try {
    return new Map([...shapes.keys()].map((name) => [name, floatsOf(source.read(source.tensors.get(name)!))]));
  } finally {
    source.close();
  }
}

const floatsOf = (bytes: Uint8Array): Float32Array =>
  new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);

/** The state of the step in a file of the state's folder. */
export function readStepState(
  file: string,
  updates: number,
  shapes: ReadonlyMap<string, readonly number[]>,
): StepState {
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
export function freshState(directory: string, shapes: ReadonlyMap<string, readonly number[]>): StepState {
  const parameters = readValues(path.join(directory, parametersFile), shapes);
  const zeros = (): Map<string, Float32Array> =>
    new Map([...parameters].map(([name, { length }]) => [name, new Float32Array(length)]));
  return { updates: 0, parameters, firstMoments: zeros(), secondMoments: zeros() };
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

/** Removes older states, and what a killed writer left under temporary names. */
export function removeLeftovers(directory: string, current: string | null): void {
  const states = path.join(directory, stateFolder);
  for (const name of fs.readdirSync(states)) {
    if (name !== current && name !== positionFile && name !== bestFile)
      fs.rmSync(path.join(states, name), { force: true });
  }
  for (const name of fs.readdirSync(directory)) {
    if (/^\.(?!lock\b).*\.tmp$/.test(name)) fs.rmSync(path.join(directory, name), { force: true });
  }
}
