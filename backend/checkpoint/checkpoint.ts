/**
 * A checkpoint directory as data, and reading it. Writing is in writer.ts. Knows no runtime.
 *
 * Only `exits.safetensors` is authoritative about the exits: its metadata has the step and the scores of its values, and it is replaced by
 * one rename. `exits.json` has what never changes during a run, and a readable copy of the rest.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { UserError, userError } from '../../protocol/errors.ts';
import { shownValue } from '../../protocol/foreign.ts';
import type { ExitScore } from '../../protocol/events.ts';
import { exitScore } from '../../protocol/exit-score.ts';
import { list, readMessage } from '../../protocol/shapes.ts';
import { exitArchitectures, exitId, exitPath, shortlistOf, type ExitSpec, type HeadSpec } from '../exits/spec.ts';
import { fileError, readText, statOf, writeFileAtomically } from '../system/files.ts';
import { openSafetensors, readSafetensorsMetadata, shorten } from '../formats/safetensors.ts';
import type { TensorSource } from '../formats/tensor-source.ts';
import { infoFile, parametersFile } from '../formats/our-folders.ts';
import type { ModelSpec } from '../model/spec.ts';
import { readCalibration, type Calibration } from './calibration.ts';
import { bad, isCount, record } from './fields.ts';
import { readTuning } from './portable.ts';

export { bad, type Calibration };

export const formatVersion = 1;

/** What a resume needs besides the data position: parameters and AdamW moments by parameter name. */
export interface StepState {
  readonly updates: number;
  readonly parameters: ReadonlyMap<string, Float32Array>;
  readonly firstMoments: ReadonlyMap<string, Float32Array>;
  readonly secondMoments: ReadonlyMap<string, Float32Array>;
}

/** The model that the exits belong to. */
export interface BaseModel {
  readonly name: string;
  readonly family: string;
  readonly layers: number;
  readonly hidden: number;
  readonly vocabulary: number;
  /** SHA-256 of the weights, see `hashWeights`. */
  readonly sha256: string;
}

export const baseModel = (name: string, spec: ModelSpec, sha256: string): BaseModel => ({
  name,
  family: spec.family,
  layers: spec.layers.length,
  hidden: spec.hidden,
  vocabulary: spec.vocabulary,
  sha256,
});

/** Origin of an exit's values: its initial values, or the number of updates after which it had them. */
export type Origin = (typeof beginnings)[number] | number;
const beginnings = ['copy', 'random', 'fit'] as const;

/** Progress of the exits in `exits.safetensors`. Each exit has its own best values, so they may be of different steps. */
export interface Progress {
  /** The latest of these steps. */
  readonly step: number;
  /** Target tokens seen. */
  readonly tokens: number;
  /** Held-out scores of exactly these values; the final exit's is last. */
  readonly scores: readonly ExitScore[];
  /** By exit id; earlier versions did not write it. */
  readonly origins?: Readonly<Record<string, Origin>>;
}

export interface CheckpointInfo {
  readonly base: BaseModel;
  readonly exits: readonly ExitSpec[];
  /** The options of the run, as JSON. File names are absolute here, and relative in the file. */
  readonly tuning: Readonly<Record<string, unknown>>;
  readonly calibration: Calibration | null;
}

export interface Checkpoint extends CheckpointInfo {
  readonly directory: string;
  readonly progress: Progress;
  /** Names of the exits' parameters with their shapes. */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  /** All values of a parameter, such as `exits.8.mlp.norm.weight`; read on demand. */
  values(name: string): Float32Array;
  close(): void;
}

export const metricsFile = 'metrics.jsonl';
export const stateFolder = 'state';
/** File in it with the position of the run. */
export const positionFile = 'state.json';
/** What a run elsewhere keeps here until it has ended (cluster/job.ts). */
export const jobFolder = 'distributed';
/** The job itself in it, the last file to be written. */
export const jobFile = 'job.json';

/** Name of the tensor with the ids of a shortlist. */
export const shortlistName = (exit: Pick<ExitSpec, 'layer' | 'architecture'>): string =>
  `${exitPath(exit)}.head.tokens`;

/**
 * Opens a checkpoint for a model; `base` null opens it for any model (to show it).
 * @throws UserError `not-found`, `bad-checkpoint`, or `wrong-base-model` if it belongs to another model.
 */
export function openCheckpoint(directory: string, base: BaseModel | null): Checkpoint {
  const json = readInfo(directory);
  if (base) requireSameBase(directory, json.base, base);
  const parameters = path.join(directory, parametersFile);
  if (!fs.existsSync(parameters)) throw bad(directory, `${parametersFile} is missing`);
  const source = openSafetensors(parameters);
  try {
    const exits = json.exits.map((exit) => withShortlist(directory, source, exit, json.base.vocabulary));
    const shapes = new Map<string, readonly number[]>();
    const lists = new Set(exits.map(shortlistName));
    for (const { name, shape, type } of source.tensors.values()) {
      if (lists.has(name)) continue;
      if (type !== 'F32') throw bad(parameters, `${name} has the type ${type}, not F32`);
      if (!exits.some((exit) => name.startsWith(`${exitPath(exit)}.`)))
        throw bad(parameters, `${name} belongs to no exit`);
      shapes.set(name, shape);
    }
    const progress = readProgress(parameters, readSafetensorsMetadata(parameters).get('progress'));
    return {
      ...json,
      // A calibration is valid only for the values for which it was made.
      calibration: json.calibration?.step === progress.step ? json.calibration : null,
      directory,
      exits,
      progress,
      shapes,
      values: (name) => readFloats(source, parameters, name),
      close: () => source.close(),
    };
  } catch (error) {
    source.close();
    throw error;
  }
}

/**
 * Stores a calibration in the description of a checkpoint, and replaces an earlier one.
 * @throws UserError if it cannot be read or written.
 */
export function saveCalibration(directory: string, calibration: Calibration): void {
  const file = path.join(directory, infoFile);
  try {
    const info = JSON.parse(readText(file)) as Record<string, unknown>;
    writeFileAtomically(file, [`${JSON.stringify({ ...info, calibration }, null, 2)}\n`]);
  } catch (error) {
    throw fileError(error, 'write', file);
  }
}

/** Whether `directory` is a checkpoint of any model. */
export const isCheckpoint = (directory: string): boolean => fs.existsSync(path.join(directory, infoFile));

/** @throws UserError `wrong-base-model` naming both models. */
export function requireSameBase(directory: string, found: BaseModel, wanted: BaseModel): void {
  if (found.sha256 === wanted.sha256) return;
  const shape = (model: BaseModel): string =>
    `${model.name} (${model.layers} layers, hidden size ${model.hidden}, SHA-256 ${model.sha256.slice(0, 12)}…)`;
  throw userError(
    'wrong-base-model',
    `The exits in ${directory} belong to ${shape(found)}, not to ${shape(wanted)}.`,
    `Name the model they were tuned on, or tune exits for ${wanted.name}.`,
  );
}

/** Reads and checks `exits.json`. A shortlist's ids are still empty: they are in the parameters' file. */
export function readInfo(directory: string): CheckpointInfo {
  const file = path.join(directory, infoFile);
  let text: string;
  try {
    text = readText(file);
  } catch (error) {
    if (statOf(directory)?.isFile()) {
      const folder = path.basename(directory) === infoFile ? `: ${path.dirname(directory)}` : '';
      throw userError(
        'not-found',
        `${directory} is a file, not a folder of exits.`,
        `Name the folder that tune wrote${folder}.`,
      );
    }
    if (error instanceof UserError && error.code === 'not-found') {
      throw userError(
        'not-found',
        `${directory} holds no exits: there is no ${infoFile}.`,
        'Name a folder that tune wrote.',
      );
    }
    throw error;
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw bad(file, 'it is not JSON', cause);
  }
  const root = record(file, json, 'the file');
  if (root['format'] !== 'early-exit') throw bad(file, '"format" is not "early-exit"');
  if (root['version'] !== formatVersion) {
    throw userError(
      'bad-checkpoint',
      `${file} has the format version ${shownValue(root['version'])}; this program reads version ${formatVersion}.`,
      'Use the version of Early Exit that wrote it.',
    );
  }
  const base = readBase(file, root['base']);
  const { exits } = root;
  if (!Array.isArray(exits) || exits.length === 0) throw bad(file, '"exits" is not a list of exits');
  return {
    base,
    exits: distinct(
      file,
      exits.map((exit) => readExit(file, exit, base)),
    ),
    tuning: readTuning(directory, record(file, root['tuning'], '"tuning"')),
    calibration: readCalibration(file, root['calibration'] ?? null),
  };
}

function readBase(file: string, value: unknown): BaseModel {
  const base = record(file, value, '"base"');
  const text = (key: string): string => {
    const found = base[key];
    if (typeof found !== 'string' || found === '') throw bad(file, `"base.${key}" is not a text`);
    return found;
  };
  const count = (key: string): number => {
    const found = base[key];
    if (!isCount(found) || found === 0) throw bad(file, `"base.${key}" is not a count`);
    return found;
  };
  const sha256 = text('sha256');
  if (!/^[0-9a-f]{64}$/.test(sha256)) throw bad(file, '"base.sha256" is not a SHA-256');
  return {
    name: text('name'),
    family: text('family'),
    layers: count('layers'),
    hidden: count('hidden'),
    vocabulary: count('vocabulary'),
    sha256,
  };
}

function readExit(file: string, value: unknown, base: BaseModel): ExitSpec {
  const exit = record(file, value, 'an exit');
  const { layer } = exit;
  const architecture = exitArchitectures.find((name) => name === exit['architecture']);
  if (!isCount(layer) || layer < 1 || layer > base.layers) {
    throw bad(file, `an exit has the layer ${shownValue(layer)}, and the model has ${base.layers} layers`);
  }
  if (!architecture) throw bad(file, `the architecture ${shownValue(exit['architecture'])} is unknown`);
  const kind = record(file, exit['head'], 'the head of an exit')['kind'];
  if (kind === 'own' || kind === 'shared') return { layer, architecture, head: { kind } };
  if (kind === 'shortlist') return { layer, architecture, head: { kind, tokens: [] } };
  throw bad(file, `the head ${shownValue(kind)} is unknown`);
}

function withShortlist(directory: string, source: TensorSource, exit: ExitSpec, vocabulary: number): ExitSpec {
  if (!shortlistOf(exit)) return exit;
  const name = shortlistName(exit);
  const tensor = source.tensors.get(name);
  const file = path.join(directory, parametersFile);
  if (!tensor || tensor.type !== 'I32') throw bad(file, `the shortlist of exit ${exitId(exit)} is missing`);
  const bytes = source.read(tensor);
  const tokens = Array.from(new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4));
  if (tokens.some((id) => id < 0 || id >= vocabulary) || new Set(tokens).size !== tokens.length) {
    throw bad(file, `the shortlist of exit ${exitId(exit)} holds ids that the model does not have`);
  }
  const head: HeadSpec = { kind: 'shortlist', tokens };
  return { ...exit, head };
}

function readFloats(source: TensorSource, file: string, name: string): Float32Array {
  const tensor = source.tensors.get(name);
  if (!tensor) throw bad(file, `${name} is missing`);
  const bytes = source.read(tensor);
  const values = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]! * 0;
  if (sum !== 0) throw bad(file, `${name} holds values that are not finite`);
  return values;
}

/** The metadata of a file of values. @throws UserError `bad-checkpoint` if it has none. */
export function readProgress(file: string, text: string | undefined): Progress {
  let value: unknown;
  try {
    value = JSON.parse(text ?? '');
  } catch (cause) {
    throw bad(file, 'its progress is not recorded', cause);
  }
  const { step, tokens, origins, scores: recorded } = record(file, value, 'its progress');
  if (!isCount(step) || !isCount(tokens)) throw bad(file, 'its progress is not recorded');
  const scores = readScores(file, recorded);
  if (origins === undefined) return { step, tokens, scores };
  const byExit = record(file, origins, 'the origins of its exits');
  for (const [exit, origin] of Object.entries(byExit)) {
    if (!isCount(origin) && !beginnings.some((name) => name === origin))
      throw bad(file, `the origin of exit ${shorten(exit)} is unknown`);
  }
  return { step, tokens, scores, origins: byExit as Record<string, Origin> };
}

function readScores(file: string, scores: unknown): ExitScore[] {
  try {
    return readMessage('scores', list(exitScore), scores);
  } catch (cause) {
    throw bad(file, 'the scores of its exits cannot be read', cause);
  }
}

/** Two exits of one name would share their parameters. */
function distinct(file: string, exits: readonly ExitSpec[]): readonly ExitSpec[] {
  const ids = exits.map(exitId);
  const twice = ids.find((id, i) => ids.indexOf(id) !== i);
  if (twice !== undefined) throw bad(file, `it lists the exit ${twice} twice`);
  return exits;
}
