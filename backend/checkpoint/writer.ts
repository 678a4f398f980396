/**
 * Writes a checkpoint directory so that a kill at any moment leaves the previous state whole: every file is written under
 * a temporary name, synced and renamed; a new optimiser state counts once `state/state.json` names it.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { shortlistOf, type ExitSpec } from '../exits/spec.ts';
import { fileError, makeFolder, openCut, writeFileAtomically, writeWhole } from '../system/files.ts';
import type { Lock } from '../system/lock.ts';
import { cardFile, infoFile, parametersFile } from '../formats/our-folders.ts';
import { bytesOf, writeSafetensors, type TensorData } from '../formats/safetensors.ts';
import { modelCard } from './card.ts';
import {
  formatVersion,
  metricsFile,
  positionFile,
  shortlistName,
  stateFolder,
  type CheckpointInfo,
  type Progress,
  type StepState,
} from './checkpoint.ts';
import { isOfExit } from './continued.ts';
import { lockCheckpoint, reserveFolder, type ReservedFolder } from './reserved-folder.ts';
import { writtenTuning } from './portable.ts';
import { freshState, readState, readStepState, readValues, removeLeftovers, type TrainingPosition } from './state.ts';

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
  folder: ReservedFolder = reserveFolder(directory),
): CheckpointWriter {
  let writer: CheckpointWriter | null = null;
  try {
    makeFolder(path.join(directory, stateFolder));
    writer = openWriter(directory, start.info, start.shapes, 0, start.progress, folder.lock);
    for (const line of start.metrics) writer.metric(line);
    writer.saveState(start.state, start.position);
    start.whole?.();
    writer.saveExits(ofExits(start.state.parameters), start.progress);
    return writer;
  } catch (error) {
    writer?.close();
    folder.abandon();
    throw fileError(error, 'write', directory);
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
    metrics = openCut(metricsPath, metricsBytes);
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
  const { base } = info;
  // One of earlier values is of no use, and would be listed.
  const calibration = info.calibration?.step === progress.step ? info.calibration : null;
  const json = { format: 'early-exit', version: formatVersion, base, exits, tuning, calibration, progress };
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
    const list = shortlistOf(exit);
    if (!list) return [];
    const tokens = Int32Array.from(list);
    return [{ name: shortlistName(exit), type: 'I32' as const, shape: [tokens.length], bytes: bytesOf(tokens) }];
  });
