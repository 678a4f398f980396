/** The options of a tuning run as a checkpoint keeps them, in the notation of a config file, and as a resume takes them up. */
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { userError, type UserError } from '../../../protocol/errors.ts';
import { configOrigin, flagName, lengthOf, parseOptions, type TuneOptions } from '../../../protocol/options/options.ts';
import type { ExitsRequest, ExitWeights } from '../../../protocol/options/notations.ts';
import { meshText, placeText } from '../../../protocol/options/place.ts';
import { promiseText } from '../../../protocol/options/promise.ts';
import { shippedModel } from '../../../protocol/options/groups.ts';
import { absolutePatterns } from '../../data/texts/documents.ts';
import { hubReferenceOf, parseHubReference } from '../../hub/hub.ts';
import type { RunLimits, TrainingPosition } from '../../checkpoint/state.ts';
import { jobFolder, positionFile, stateFolder, type CheckpointInfo } from '../../checkpoint/checkpoint.ts';
import { infoFile } from '../../formats/our-folders.ts';
import { modelName } from '../../model/open.ts';
import { statOf } from '../../system/files.ts';
import { withSplitSeed } from '../calibrating/measured-text.ts';

/** What belongs to one sitting and is not written. */
const unwritten = ['out', 'resume', 'on', 'mesh', 'modelThere', 'plan', 'tensorboard'] as const;
/** What each sitting decides for itself. The machine of the first one is written, so that runs can be compared (evaluation/report/groups.ts). */
const perSitting = [...unwritten, 'device', 'exitDevice', 'gpuLayers', 'threads'] as const;

/** Every option of the run by name, as a user would write it. */
export function optionsText(options: TuneOptions): Record<string, unknown> {
  const text: Record<string, unknown> = {
    ...options,
    model: modelText(options.model),
    data: absolutePatterns(options.data),
    continuePretraining: options.continuePretraining && path.resolve(options.continuePretraining),
    exits: exitsText(options.exits),
    exitWeights: weightsText(options.exitWeights),
    promise: options.promise && promiseText(options.promise),
  };
  for (const name of unwritten) delete text[name];
  return text;
}

/** A model as exits.json names it: its path, or its name on the hub. */
export const modelText = (model: string): string =>
  hubReferenceOf(model) ?? (existsSync(model) ? path.resolve(model) : model);

/**
 * The options of a resumed run. They are those of the run, except: `now` decides where the run is computed, and may name another path of
 * the model, the same data (by its hash), and a calibration's promise.
 * @throws UserError if the checkpoint's options are not valid, or if `now` describes another run than this one.
 */
export function resumedOptions(directory: string, { tuning }: CheckpointInfo, now: TuneOptions): TuneOptions {
  const sitting = Object.fromEntries(perSitting.map((name) => [name, now[name]]));
  const place = { on: placeText(now.on), mesh: now.mesh.mesh ? meshText(now.mesh.mesh) : 'auto' };
  const model = now.model === shippedModel ? {} : { model: now.model };
  const texts = optionsText(now);
  const named = restated.filter((name) => !isDefault(name, now)).map((name) => [name, texts[name]] as const);
  const origin = configOrigin(path.join(directory, infoFile));
  const given = { ...keptOptions(withSplitSeed(tuning)), ...sitting, ...place, ...model, ...Object.fromEntries(named) };
  const run = parseOptions('tune', given, origin);
  requireSameRun(directory, run, now);
  return run;
}

/** The options of a run; those of earlier versions promised agreement by a name of its own. */
function keptOptions({ agreement, ...tuning }: CheckpointInfo['tuning']): Record<string, unknown> {
  return typeof agreement === 'number' ? { promise: `agreement=${agreement}`, ...tuning } : tuning;
}

/** Options that replace the run's own if they are given. */
const restated = ['data', 'promise', 'certainty', 'calibrationTokens'] as const;

/** Options that a resumed run may be given anew; its limits are added to what is done. */
const sayable: ReadonlySet<string> = new Set([
  ...perSitting,
  ...restated,
  'model',
  'keepState',
  'steps',
  'epochs',
  'minutes',
]);

const isDefault = (name: keyof TuneOptions, now: TuneOptions): boolean =>
  JSON.stringify(now[name]) === JSON.stringify(parseOptions('tune', {})[name]);

function requireSameRun(directory: string, run: TuneOptions, now: TuneOptions): void {
  // The preset first: it sets some of the others.
  const names: (keyof TuneOptions)[] = ['preset', ...(Object.keys(run) as (keyof TuneOptions)[])];
  const texts = { run: optionsText(run), now: optionsText(now) };
  for (const name of names) {
    if (
      sayable.has(name) ||
      isDefault(name, now) ||
      JSON.stringify(texts.run[name]) === JSON.stringify(texts.now[name])
    )
      continue;
    throw userError(
      'bad-argument',
      `The run in ${directory} goes on with its own options: its ${flagName(name)} is ${String(texts.run[name])}, not ${String(texts.now[name])}.`,
      'Leave that out, or begin another run (--out).',
    );
  }
}

/** The end of a new run, calibration included. */
export function endOf(options: Pick<TuneOptions, 'steps' | 'epochs' | 'minutes' | 'preset'>): RunLimits {
  const { minutes } = lengthOf(options);
  return { steps: options.steps, epochs: options.epochs, seconds: minutes === null ? null : 60 * minutes };
}

/** The end of a resumed run: a further one, else that of the sitting before, else that of its options. */
export const resumedEnd = (
  run: TuneOptions,
  now: TuneOptions,
  position: TrainingPosition,
  windows: number,
): RunLimits => furtherEnd(now, position, windows) ?? position.end ?? endOf(run);

/**
 * The end that a resumed run of `windows` windows gets now: the given limits, on top of what is done; without any, the minutes of the
 * preset if it had reached its end. Null: it keeps its end.
 */
export function furtherEnd(now: TuneOptions, position: TrainingPosition, windows: number): RunLimits | null {
  const hasLimit = now.steps !== null || now.epochs !== null || now.minutes !== null;
  if (!hasLimit && !position.finished) return null;
  const { steps, epochs, seconds } = endOf(now);
  const onTop = (done: number, more: number | null): number | null => (more === null ? null : done + more);
  return {
    steps: onTop(position.step, steps),
    epochs: onTop(position.windows / windows, epochs),
    seconds: onTop(position.seconds, seconds),
  };
}

/** The default folder of exits: the model's name with `.exits` in the current folder, with a number if that exists. */
export function defaultDirectory(model: string): string {
  for (let i = 1; ; i++) {
    const directory = numberedDirectory(model, i);
    if (!existsSync(directory)) return directory;
  }
}

/**
 * The run that `--resume` takes by default: the most recent one in the current folder, of this model if one is given; null if there
 * is none.
 */
export function lastDirectory(model: string | null): string | null {
  const name = model === null ? null : nameOf(model);
  const isOf = (folder: string): boolean =>
    name === null || (folder.startsWith(name) && /^(?:-\d+)?\.exits$/.test(folder.slice(name.length)));
  const runs = readdirSync('.')
    .filter((folder) => folder.endsWith('.exits') && isOf(folder))
    .map((folder) => ({ folder, at: lastWork(folder) }))
    .filter(({ at }) => at > 0);
  return runs.sort((a, b) => b.at - a.at)[0]?.folder ?? null;
}

export const noRunToResume = (): UserError =>
  userError('bad-argument', 'There is no run to resume.', 'Name the folder of the run with --out.');

/** When a run last saved its state, or its job on other machines began; 0 if the folder has no run. */
const lastWork = (folder: string): number =>
  Math.max(
    ...[path.join(stateFolder, positionFile), jobFolder].map((name) => statOf(path.join(folder, name))?.mtimeMs ?? 0),
  );

/** Works for a path and for a hub id. */
function nameOf(model: string): string {
  const hub = existsSync(model) ? null : parseHubReference(model);
  const name = hub ? path.basename(hub.file ?? hub.repository) : modelName(path.resolve(model));
  return name.replace(/\.gguf$/i, '');
}
const numberedDirectory = (model: string, i: number): string => `${nameOf(model)}${i === 1 ? '' : `-${i}`}.exits`;

const exitsText = (exits: ExitsRequest): string =>
  exits.kind === 'auto'
    ? `auto:${exits.architecture}`
    : exits.exits.map(({ layer, architecture }) => `${layer}:${architecture}`).join(',');

const weightsText = (weights: ExitWeights): string =>
  weights.kind === 'static'
    ? weights.weights.join(',')
    : `${weights.from.join(',')}..${weights.to.join(',')}:${weights.shape}`;
