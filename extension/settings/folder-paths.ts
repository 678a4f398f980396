/** Paths that options of an editor name are a folder's: the backend runs elsewhere. Knows no `vscode`. */
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { shippedModel } from '../../protocol/options/groups.ts';
import type { RecipeOptions, RunSummary } from '../../protocol/server.ts';

/** A path as a shell takes it: `~` is the user's own folder. */
export const expandHome = (file: string): string => file.replace(/^~(?=[/\\]|$)/, () => homedir());

/** The model in the folder if that path exists there, else unchanged: the one that ships, or an id of the hub. */
export function modelInFolder({ model }: RecipeOptions, folder: string | undefined): RecipeOptions {
  if (typeof model !== 'string' || model === shippedModel || folder === undefined) return {};
  const file = path.resolve(folder, model);
  return existsSync(file) || /^\.{1,2}[/\\]/.test(model) ? { model: file } : {};
}

/** The options of a generation with paths of the first of these folders in which they exist, else of the first. */
export function generateInFolder(options: RecipeOptions, folders: readonly string[]): RecipeOptions {
  const { model, exits } = options;
  const folderOf = (file: string): string | undefined =>
    folders.find((folder) => existsSync(path.resolve(folder, file))) ?? folders[0];
  const ofExits = typeof exits === 'string' ? folderOf(exits) : undefined;
  return {
    ...options,
    ...(typeof model === 'string' && modelInFolder(options, folderOf(model))),
    ...(typeof exits === 'string' && ofExits !== undefined && { exits: path.resolve(ofExits, exits) }),
  };
}

/** A folder for new exits: one that neither exists nor is reserved for an unfinished run. */
export function freeExitsFolder(
  folder: string,
  name: string,
  runs: readonly Pick<RunSummary, 'state' | 'directory'>[],
): string {
  const taken = new Set(runs.filter(({ state }) => state !== 'finished').map(({ directory }) => directory));
  return freePath(folder, name, '.exits', taken);
}

/** The first of `name`, `name-2`, `name-3` … that is not in the folder and not taken. */
export function freePath(folder: string, name: string, ending = '', taken: ReadonlySet<string> = new Set()): string {
  for (let n = 1; ; n++) {
    const file = path.join(folder, `${name}${n === 1 ? '' : `-${n}`}${ending}`);
    if (!taken.has(file) && !existsSync(file)) return file;
  }
}
