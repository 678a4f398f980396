/**
 * The model and the exits that were used last in each folder: a small file for a folder in the user's cache, replaced as a whole. What cannot
 * be read or written there was never used.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { readText, writeFileAtomically } from '../../system/files.ts';
import { userCache } from '../../system/user-cache.ts';
import { localModel } from '../../hub/hub.ts';

export interface LastUsed {
  /** A path or a name on the hub. */
  readonly model: string;
  /** Absolute; null if it was used without exits. */
  readonly exits: string | null;
}

/** The model and exits last used in a folder, if they still exist; else null. */
export function lastUsed(folder: string = process.cwd()): LastUsed | null {
  const found = read(fileOf(folder));
  if (found === null || localModel(found.model) === null) return null;
  return found.exits === null || existsSync(found.exits) ? found : null;
}

/** Remembers what was used in a folder, unless it cannot be written. */
export function rememberUsed(used: LastUsed, folder: string = process.cwd()): void {
  const { model, exits } = used;
  const absolute = existsSync(model) ? path.resolve(model) : model;
  const text = JSON.stringify({ folder: path.resolve(folder), model: absolute, exits: exits && path.resolve(exits) });
  try {
    writeFileAtomically(fileOf(folder), [`${text}\n`]);
  } catch {
    return;
  }
}

/** Models of all folders. */
export const lastModels = (): string[] => all().map(({ model }) => model);

/** Exits of all folders. */
export const lastExits = (): string[] => all().flatMap(({ exits }) => exits ?? []);

const root = (): string => path.join(userCache(), 'folders');

const fileOf = (folder: string): string =>
  path.join(root(), `${createHash('sha256').update(path.resolve(folder)).digest('hex').slice(0, 32)}.json`);

/** More folders are not looked through. */
const mostFolders = 1_000;

function all(): LastUsed[] {
  try {
    const names = readdirSync(root()).filter((name) => name.endsWith('.json'));
    return names.slice(0, mostFolders).flatMap((name) => read(path.join(root(), name)) ?? []);
  } catch {
    return [];
  }
}

function read(file: string): LastUsed | null {
  try {
    const { model, exits } = JSON.parse(readText(file)) as Record<string, unknown>;
    const isWhole = typeof model === 'string' && model !== '' && (exits === null || typeof exits === 'string');
    return isWhole ? { model, exits } : null;
  } catch {
    return null;
  }
}
