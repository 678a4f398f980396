/** The model that ships in the package. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { shippedModel } from '../../../protocol/options/groups.ts';
import { packageRoot } from '../installation.ts';

/**
 * The folder of the model that ships if it is given by name; any other model unchanged. To use a folder of that name in the working
 * directory, write a path, such as `./typescript-5m`.
 */
export const resolveModel = (model: string): string =>
  model === shippedModel ? path.join(packageRoot(), 'models', shippedModel) : model;

/** The folder of the exits that ship with that model; null if there are none. */
export function shippedExits(): string | null {
  const folder = path.join(resolveModel(shippedModel), 'exits');
  return existsSync(path.join(folder, 'exits.json')) ? folder : null;
}
