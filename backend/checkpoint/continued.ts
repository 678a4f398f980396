/**
 * What a run that trains the whole model keeps beside the state that a resume needs: its best values, model and exits in one file, since they
 * are only good together. Until the run ends, `exits.json` is about the model that it began with, and its exits fit that one.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { openSafetensors, readSafetensorsMetadata, writeSafetensors, type TensorData } from '../formats/safetensors.ts';
import type { TensorInfo, TensorSource } from '../formats/tensor-source.ts';
import { bad, readProgress, stateFolder, type Progress } from './checkpoint.ts';

/** In the folder of the state. */
export const bestFile = 'best.safetensors';

export interface BestWhole {
  readonly progress: Progress;
  /** Tensors of the model's own files, by their names there. */
  readonly model: readonly TensorInfo[];
  /** Parameters of the exits, `exits.8.mlp.norm.weight`. */
  readonly exits: ReadonlyMap<string, TensorInfo>;
  readonly source: TensorSource;
}

/** Whether a parameter is an exit's, and not the model's. */
export const isOfExit = (name: string): boolean => name.startsWith('exits.');

/** @throws UserError `bad-checkpoint` if there is none, or it is damaged. */
export function openBest(directory: string): BestWhole {
  const file = path.join(directory, stateFolder, bestFile);
  if (!existsSync(file)) throw bad(directory, `${path.join(stateFolder, bestFile)} is missing`);
  const progress = readProgress(file, readSafetensorsMetadata(file).get('progress'));
  const source = openSafetensors(file);
  const all = [...source.tensors.values()];
  return {
    progress,
    model: all.filter(({ name }) => !isOfExit(name)),
    exits: new Map(all.filter(({ name }) => isOfExit(name)).map((tensor) => [tensor.name, tensor])),
    source,
  };
}

/** Replaces the best values. */
export function writeBest(directory: string, tensors: readonly TensorData[], progress: Progress): void {
  writeSafetensors(path.join(directory, stateFolder, bestFile), tensors, { progress: JSON.stringify(progress) });
}
