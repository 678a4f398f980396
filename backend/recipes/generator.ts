/**
 * What generating stands on: a model cut at its exits on a device, its tokenizer, and what decoding remembers. The last
 * one stays open in its thread, so that an editor's next request neither loads the model nor reads its context again.
 */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import type { GenerateOptions } from '../../protocol/options.ts';
import type { Tokenizer } from '../data/tokenizer.ts';
import { newMemory, type DecodeMemory } from '../decoding/decode.ts';
import type { Model } from '../model/open.ts';
import { placeOn, placeStagedModel } from '../runtime/devices-fallback.ts';
import { chooseDevice, type Device } from '../runtime/devices.ts';
import { noExits } from '../runtime/open.ts';
import type { StagedModel } from '../runtime/staged-model.ts';
import { infoFile, parametersFile, type Calibration } from '../tuning/checkpoint.ts';
import { runtimeOptions } from './backbone.ts';
import { openWithTokenizer, readExits } from './opened.ts';

export interface Generator {
  readonly model: Model;
  readonly tokenizer: Tokenizer;
  readonly staged: StagedModel;
  readonly calibration: Calibration | null;
  readonly device: Device;
  readonly memory: DecodeMemory;
  /** Takes what the device had to warn of since it was last asked. */
  warnings(): string[];
}

let kept: { readonly key: string; readonly generator: Generator } | null = null;

/**
 * The generator for these options: the kept one where nothing has changed, on disk neither.
 * @throws UserError for a model or checkpoint that cannot be used.
 */
export async function openGenerator(options: GenerateOptions, signal: AbortSignal): Promise<Generator> {
  // At full depth the stages are only cut where somebody wants to see what the exits say.
  const exits = options.mode !== 'full' || options.candidates > 0 ? options.exits : null;
  const { model, device, precision, threads } = options;
  const key = JSON.stringify([model, state(model), exits, exits && checkpointState(exits), device, precision, threads]);
  if (kept?.key === key) return kept.generator;
  await releaseGenerator();
  const generator = await open(options, exits, signal);
  kept = { key, generator };
  return generator;
}

/** Closes the kept generator: its memory is wanted for something else. */
export async function releaseGenerator(): Promise<void> {
  const generator = kept?.generator;
  kept = null;
  await generator?.staged.dispose();
  generator?.model.close();
}

async function open(options: GenerateOptions, directory: string | null, signal: AbortSignal): Promise<Generator> {
  const { model, tokenizer } = openWithTokenizer(options.model);
  try {
    const exits = directory === null ? { ...noExits, calibration: null } : await readExits(directory, model, signal);
    const device = await chooseDevice(options.device, signal);
    const messages: string[] = [];
    const placement = placeOn(device, (message) => void messages.push(message));
    const staged = await placeStagedModel(placement, model, exits, runtimeOptions(options));
    const { calibration } = exits;
    const memory = newMemory(staged);
    return { model, tokenizer, staged, calibration, device, memory, warnings: () => messages.splice(0) };
  } catch (error) {
    model.close();
    throw error;
  }
}

/** Changes when a file does. */
function state(path: string): string {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat ? `${stat.ino} ${stat.size} ${stat.mtimeMs}` : 'absent';
}

const checkpointState = (directory: string): string[] =>
  [infoFile, parametersFile].map((file) => state(join(directory, file)));
