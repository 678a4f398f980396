/**
 * Writes a checkpoint directory so that a kill at any moment leaves the previous state whole: every file is written under
 * a temporary name, synced and renamed; a new optimiser state counts once `state/state.json` names it.
 */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { userError } from '../../protocol/errors.ts';
import type { ExitScore } from '../../protocol/events.ts';
import type { ExitSpec } from '../exits/spec.ts';
import { fileError, writeFileAtomically, writeWhole } from '../formats/files.ts';
import { bytesOf, openSafetensors, writeSafetensors, type TensorData } from '../formats/safetensors.ts';
import { modelCard } from './card.ts';
import {
  bad,
  cardFile,
  formatVersion,
  infoFile,
  isCheckpoint,
  metricsFile,
  parametersFile,
  shortlistName,
  stateFolder,
  type CheckpointInfo,
  type Progress,
  type StepState,
} from './checkpoint.ts';

/** Where a run stands: with the step's state, all that a resume needs. */
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
  /** True where the run reached its limit. */
  readonly finished: boolean;
}

export interface CheckpointWriter {
  readonly directory: string;
  /** Appends a line to `metrics.jsonl`. */
  metric(line: Readonly<Record<string, unknown>>): void;
  /** Replaces the exits' parameters. */
  saveExits(parameters: ReadonlyMap<string, Float32Array>, progress: Progress): void;
  /** Replaces what a resume needs, as of the metrics written so far (or `metricsBytes` of them). */
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
}

/**
 * Makes a checkpoint directory, whole or not at all.
 * @throws UserError `file-system` where it cannot be written, or is there already with something in it.
 */
export function createCheckpoint(directory: string, start: NewCheckpoint): CheckpointWriter {
  requireFree(directory);
  const making = `${path.resolve(directory)}.${process.pid}.tmp`;
  try {
    fs.rmSync(making, { recursive: true, force: true });
    fs.mkdirSync(path.join(making, stateFolder), { recursive: true });
    const writer = openWriter(making, start.info, start.shapes, 0, start.progress);
    try {
      for (const line of start.metrics) writer.metric(line);
      writer.saveExits(start.state.parameters, start.progress);
      writer.saveState(start.state, start.position);
    } finally {
      writer.close();
    }
    fs.rmSync(directory, { recursive: true, force: true }); // at most an empty folder
    fs.renameSync(making, directory);
  } catch (error) {
    fs.rmSync(making, { recursive: true, force: true });
    throw fileError(error, 'write', directory);
  }
  return openWriter(directory, start.info, start.shapes, Infinity, start.progress);
}

/**
 * Tries beforehand what `createCheckpoint` will do, so that no work is lost for want of a place to put it.
 * @throws UserError where `directory` is there and not empty, or cannot be made.
 */
export function requirePlace(directory: string): void {
  requireFree(directory);
  const trial = `${path.resolve(directory)}.${process.pid}.tmp`;
  try {
    fs.mkdirSync(trial, { recursive: true });
    fs.writeFileSync(path.join(trial, infoFile), 'x');
  } catch (error) {
    throw fileError(error, 'write', directory);
  } finally {
    fs.rmSync(trial, { recursive: true, force: true });
  }
}

function requireFree(directory: string): void {
  let names: string[];
  try {
    names = fs.readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw fileError(error, 'write', directory);
  }
  if (names.length === 0) return;
  throw isCheckpoint(directory)
    ? userError(
        'file-system',
        `${directory} already holds tuned exits.`,
        'Go on with them (--resume), or name another folder (--out).',
      )
    : userError('file-system', `${directory} is not empty.`, 'Name another folder (--out).');
}

export interface Resumed {
  readonly position: TrainingPosition;
  readonly state: StepState;
}

/**
 * Opens a checkpoint directory to go on with it; metrics beyond the saved state go.
 * @throws UserError `bad-checkpoint` where there is no usable state, `busy` where another process is writing it.
 */
export function resumeCheckpoint(
  directory: string,
  info: CheckpointInfo,
  shapes: ReadonlyMap<string, readonly number[]>,
  saved: Progress,
): Resumed & { readonly writer: CheckpointWriter } {
  const { file, metricsBytes, updates, position } = readState(directory);
  const state = readStepState(path.join(directory, stateFolder, file), updates, shapes);
  const writer = openWriter(directory, info, shapes, metricsBytes, saved);
  removeLeftovers(directory, file);
  return { position, state, writer };
}

function openWriter(
  directory: string,
  info: CheckpointInfo,
  shapes: ReadonlyMap<string, readonly number[]>,
  metricsBytes: number,
  progress: Progress,
): CheckpointWriter {
  const unlock = lock(directory);
  const metricsPath = path.join(directory, metricsFile);
  let metrics: number;
  try {
    metrics = fs.openSync(metricsPath, 'a');
    if (fs.fstatSync(metrics).size > metricsBytes) fs.ftruncateSync(metrics, metricsBytes);
  } catch (error) {
    unlock();
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
      writeSafetensors(
        path.join(directory, parametersFile),
        [...floats('', parameters, shapes), ...lists(info.exits)],
        {
          format: 'early-exit',
          base_sha256: info.base.sha256,
          progress: JSON.stringify(next),
        },
      );
      saved = next;
      writeFileAtomically(path.join(directory, infoFile), [infoText(info, next)]);
      writeFileAtomically(path.join(directory, cardFile), [modelCard(info, next)]);
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
      writeFileAtomically(path.join(directory, stateFolder, 'state.json'), [`${JSON.stringify(json, null, 2)}\n`]);
      removeLeftovers(directory, file);
    },
    close() {
      fs.closeSync(metrics);
      unlock();
    },
  };
}

function infoText(info: CheckpointInfo, progress: Progress): string {
  const exits = info.exits.map(({ layer, architecture, head }) => ({
    layer,
    architecture,
    head: head.kind === 'shortlist' ? { kind: head.kind, size: head.tokens.length } : head,
  }));
  const json = { format: 'early-exit', version: formatVersion, ...info, exits, progress };
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
  file: string;
  metricsBytes: number;
  updates: number;
  position: TrainingPosition;
} {
  const file = path.join(directory, stateFolder, 'state.json');
  let json: unknown;
  try {
    json = JSON.parse(fs.readFileSync(file, 'utf8'));
  } catch (cause) {
    throw bad(directory, `the run cannot go on without ${path.join(stateFolder, 'state.json')}`, cause);
  }
  const state = json as Partial<ReturnType<typeof readState>> | null;
  const { position } = state ?? {};
  const counts = [state?.metricsBytes, state?.updates, position?.step, position?.windows, position?.tokens];
  const sound =
    typeof state?.file === 'string' &&
    path.basename(state.file) === state.file &&
    counts.every((count) => Number.isSafeInteger(count) && count! >= 0) &&
    typeof position?.seconds === 'number' &&
    typeof position.data === 'string' &&
    typeof position.finished === 'boolean' &&
    (position.best === null || typeof position.best === 'number') &&
    Array.isArray(position.before);
  if (!sound) throw bad(file, 'it is not what this version writes');
  return state as ReturnType<typeof readState>;
}

function readStepState(file: string, updates: number, shapes: ReadonlyMap<string, readonly number[]>): StepState {
  const source = openSafetensors(file);
  try {
    const read = (prefix: string): Map<string, Float32Array> => {
      const values = new Map<string, Float32Array>();
      for (const [name, shape] of shapes) {
        const tensor = source.tensors.get(`${prefix}${name}`);
        if (!tensor || tensor.shape.join() !== shape.join())
          throw bad(file, `${prefix}${name} is missing or misshapen`);
        const bytes = source.read(tensor);
        values.set(name, new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4));
      }
      return values;
    };
    return { updates, parameters: read('parameter.'), firstMoments: read('first.'), secondMoments: read('second.') };
  } finally {
    source.close();
  }
}

/** Older states and what a killed writer left under temporary names. */
function removeLeftovers(directory: string, current: string): void {
  const states = path.join(directory, stateFolder);
  for (const name of fs.readdirSync(states)) {
    if (name !== current && name !== 'state.json') fs.rmSync(path.join(states, name), { force: true });
  }
  for (const name of fs.readdirSync(directory)) {
    if (/^\..*\.tmp$/.test(name)) fs.rmSync(path.join(directory, name), { force: true });
  }
}

/** Keeps two processes from tuning into one folder. A lock of a process that is gone does not count. */
function lock(directory: string): () => void {
  const file = path.join(directory, '.lock');
  for (;;) {
    try {
      fs.writeFileSync(file, String(process.pid), { flag: 'wx' });
      return () => fs.rmSync(file, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw fileError(error, 'write', directory);
      if (isHeld(file)) {
        throw userError('busy', `Another process is tuning into ${directory}.`, 'Wait until it is done, or stop it.');
      }
      fs.rmSync(file, { force: true });
    }
  }
}

function isHeld(file: string): boolean {
  try {
    const pid = Number(fs.readFileSync(file, 'utf8'));
    const sinceBoot = fs.statSync(file).mtimeMs > Date.now() - os.uptime() * 1000;
    // Our own process writes through one writer at a time; an older lock of it is that of a thread that died.
    if (!sinceBoot || !Number.isInteger(pid) || pid <= 0 || pid === process.pid) return false;
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
