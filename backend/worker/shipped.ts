/** Where the package lies on this machine, and the model that ships in it. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { shippedModel } from '../../protocol/options-groups.ts';

/** The folder of package.json, from source and from a bundle alike. */
export function packageRoot(): string {
  let folder = path.dirname(fileURLToPath(import.meta.url));
  while (!existsSync(path.join(folder, 'package.json'))) {
    const above = path.dirname(folder);
    if (above === folder) throw new Error('The package has no package.json above its own files.');
    folder = above;
  }
  return folder;
}

/** The folder of the model that ships where it is meant by name; any other model as it is. */
export const resolveModel = (model: string): string =>
  model === shippedModel && !existsSync(model) ? path.join(packageRoot(), 'models', shippedModel) : model;
