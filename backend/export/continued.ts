/**
 * Writes a whole model with weights that were trained further into a folder of its own: the configuration and the tokenizer of the original
 * model, and the new weights in one file. Knows neither exits nor how they were trained.
 */
import { existsSync, rmSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { copyFile, fileError, makeFolder, readText, renameFile, writeFileAtomically } from '../system/files.ts';
import { removeLeftovers, temporaryName } from '../system/leftovers.ts';
import { cardFile } from '../formats/our-folders.ts';
import { writeSafetensors, type TensorData } from '../formats/safetensors.ts';
import { companions, withType } from './write.ts';

export const weightsFile = 'model.safetensors';

/**
 * Makes the folder, whole or not at all. If an earlier part of the same run has made it, its weights are replaced at once.
 * @throws UserError if it cannot be written.
 */
export function writeContinued(folder: string, began: string, tensors: readonly TensorData[], card: string): void {
  const target = resolve(folder);
  const write = (into: string): void => {
    writeSafetensors(join(into, weightsFile), tensors, { format: 'pt' });
    writeFileAtomically(join(into, cardFile), [card]);
  };
  removeLeftovers(dirname(target));
  if (existsSync(target)) return write(target);
  const temporary = temporaryName(join(dirname(target), `.${basename(target)}`));
  try {
    makeFolder(temporary);
    const config = JSON.parse(readText(join(began, 'config.json'))) as Record<string, unknown>;
    const type = tensors.some(({ type }) => type === 'BF16') ? 'bfloat16' : 'float32';
    const changed = withType(config, type);
    writeFileAtomically(join(temporary, 'config.json'), [`${JSON.stringify(changed, null, 2)}\n`]);
    for (const file of companions)
      if (existsSync(join(began, file))) copyFile(join(began, file), join(temporary, file));
    write(temporary);
    renameFile(temporary, target);
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    throw fileError(error, 'write', folder);
  }
}
