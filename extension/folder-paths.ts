/** Paths that options of an editor name are a folder's: the backend runs elsewhere. Knows no `vscode`. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { shippedModel } from '../protocol/options-groups.ts';
import type { RecipeOptions, RunSummary } from '../protocol/server.ts';

/** The model in the folder if that path exists there, else unchanged: the one that ships, or an id of the hub. */
export function modelInFolder({ model }: RecipeOptions, folder: string | undefined): RecipeOptions {
  if (typeof model !== 'string' || model === shippedModel || folder === undefined) return {};
  const file = path.resolve(folder, model);
  return existsSync(file) || /^\.{1,2}[/\\]/.test(model) ? { model: file } : {};
}

/** The options of a generation with the folder's paths. */
export const generateInFolder = (options: RecipeOptions, folder: string | undefined): RecipeOptions => ({
  ...options,
  ...modelInFolder(options, folder),
  ...(typeof options.exits === 'string' && folder !== undefined && { exits: path.resolve(folder, options.exits) }),
});

/** A folder for new exits: one that neither exists nor is reserved for an unfinished run. */
export function freeExitsFolder(
  folder: string,
  name: string,
  runs: readonly Pick<RunSummary, 'state' | 'directory'>[],
): string {
  const taken = new Set(runs.filter(({ state }) => state !== 'finished').map(({ directory }) => directory));
  for (let n = 1; ; n++) {
    const file = path.join(folder, `${name}${n === 1 ? '' : `-${n}`}.exits`);
    if (!taken.has(file) && !existsSync(file)) return file;
  }
}
