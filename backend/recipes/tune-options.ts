/** The options of a tuning run as a checkpoint keeps them, in the notation of a config file, and as a resume takes them up. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { configOrigin, parseOptions, type TuneOptions } from '../../protocol/options.ts';
import type { ExitsRequest, ExitWeights } from '../../protocol/options-notations.ts';
import { shippedModel } from '../../protocol/options-groups.ts';
import type { TrainingPosition } from '../checkpoint/writer.ts';
import { infoFile, type CheckpointInfo } from '../checkpoint/checkpoint.ts';
import type { RunLimits } from '../tuning/trainer.ts';

/** What belongs to one sitting on one machine, and not to the run. */
const perSitting = ['out', 'resume', 'device', 'exitDevice', 'threads'] as const;

/** Every option of the run by name, as a user would write it. */
export function optionsText(options: TuneOptions): Record<string, unknown> {
  const text: Record<string, unknown> = {
    ...options,
    exits: exitsText(options.exits),
    exitWeights: weightsText(options.exitWeights),
  };
  for (const name of perSitting) delete text[name];
  return text;
}

/**
 * The options to go on with: those of the run, but where this sitting takes place is `now`'s, and a model named now stands
 * in for the run's (it must be the same by its hash).
 * @throws UserError where the checkpoint's options are not valid.
 */
export function resumedOptions(directory: string, { tuning }: CheckpointInfo, now: TuneOptions): TuneOptions {
  const sitting = Object.fromEntries(perSitting.map((name) => [name, now[name]]));
  const model = now.model === shippedModel ? {} : { model: now.model };
  return parseOptions('tune', { ...tuning, ...sitting, ...model }, configOrigin(path.join(directory, infoFile)));
}

export const limitsOf = ({ steps, epochs, minutes }: TuneOptions): RunLimits => ({
  steps,
  epochs,
  seconds: minutes === null ? null : 60 * minutes,
});

/** Limits of a resumed run: its own, or, where it had reached them, what is asked for now on top of them. */
export function resumedLimits(run: TuneOptions, now: TuneOptions, position: TrainingPosition): RunLimits {
  if (!position.finished) return limitsOf(run);
  const { steps, epochs, seconds } = limitsOf(now);
  return { steps, epochs, seconds: seconds === null ? null : position.seconds + seconds };
}

/** Where exits go when nobody says: the model's name with `.exits` in the current folder, numbered where that is taken. */
export function defaultDirectory(model: string): string {
  const name = path.basename(path.resolve(model)).replace(/\.gguf$/i, '');
  for (let i = 1; ; i++) {
    const directory = `${name}${i === 1 ? '' : `-${i}`}.exits`;
    if (!existsSync(directory)) return directory;
  }
}

const exitsText = (exits: ExitsRequest): string =>
  exits.kind === 'auto'
    ? `auto:${exits.architecture}`
    : exits.exits.map(({ layer, architecture }) => `${layer}:${architecture}`).join(',');

const weightsText = (weights: ExitWeights): string =>
  weights.kind === 'static'
    ? weights.weights.join(',')
    : `${weights.from.join(',')}..${weights.to.join(',')}:${weights.shape}`;
