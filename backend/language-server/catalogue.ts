/** Finds models and exits checkpoints below folders, for the lists of an editor. Reads names and small JSON files only. */
import type { Dirent } from 'node:fs';
import { open, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import type { ExitsSummary, ModelSummary } from '../../protocol/server.ts';

/** Folders deeper than this hold no models of a workspace. */
const DEPTH = 4;
/** Enough for a list; a folder with more is somebody's disk. */
const MAX_FOLDERS = 5_000;
const skipped = new Set(['node_modules', '.git', 'dist', 'out', 'build', 'target']);

/** Every checkpoint (`exits.json`) below the folders, by name. */
export async function findExits(folders: readonly string[]): Promise<ExitsSummary[]> {
  const found: ExitsSummary[] = [];
  await walk(folders, async (directory, names) => {
    if (names.has('exits.json')) found.push(await readExits(directory));
  });
  return found.sort((a, b) => a.name.localeCompare(b.name));
}

/** The model that ships, then every Hugging Face directory and GGUF file below the folders. */
export async function findModels(shipped: string | null, folders: readonly string[]): Promise<ModelSummary[]> {
  const found: ModelSummary[] = [];
  await walk(folders, async (directory, names) => {
    if (names.has('config.json') && [...names].some((name) => name.endsWith('.safetensors'))) {
      found.push({ path: directory, name: path.basename(directory), kind: 'folder' });
    }
    for (const name of names) {
      const file = path.join(directory, name);
      if (name.endsWith('.gguf') && (await isGguf(file))) found.push({ path: file, name, kind: 'gguf' });
    }
  });
  found.sort((a, b) => a.name.localeCompare(b.name));
  return shipped === null ? found : [{ path: shipped, name: path.basename(shipped), kind: 'shipped' }, ...found];
}

async function walk(
  folders: readonly string[],
  visit: (directory: string, names: Set<string>) => Promise<void>,
): Promise<void> {
  let left = MAX_FOLDERS;
  const enter = async (directory: string, depth: number): Promise<void> => {
    if (left-- <= 0) return;
    const entries: Dirent[] = await readdir(directory, { withFileTypes: true }).catch(() => []);
    await visit(directory, new Set(entries.filter((entry) => entry.isFile()).map((entry) => entry.name)));
    if (depth === DEPTH) return;
    for (const entry of entries) {
      if (entry.isDirectory() && !skipped.has(entry.name)) await enter(path.join(directory, entry.name), depth + 1);
    }
  };
  for (const folder of folders) await enter(folder, 0);
}

async function readExits(directory: string): Promise<ExitsSummary> {
  const summary: ExitsSummary = { directory, name: path.basename(directory), model: '', exits: [], tokens: null };
  try {
    const file: unknown = JSON.parse(await readFile(path.join(directory, 'exits.json'), 'utf8'));
    if (!isRecord(file)) return summary;
    const { base, exits, progress } = file;
    return {
      ...summary,
      model: isRecord(base) && typeof base.name === 'string' ? base.name : '',
      exits: Array.isArray(exits) ? exits.flatMap(exitName) : [],
      tokens: isRecord(progress) && typeof progress.tokens === 'number' ? progress.tokens : null,
    };
  } catch {
    return summary; // Listed all the same: opening it says what is wrong.
  }
}

const exitName = (exit: unknown): string[] =>
  isRecord(exit) && typeof exit.layer === 'number' && typeof exit.architecture === 'string'
    ? [`${exit.layer}:${exit.architecture}`]
    : [];

async function isGguf(file: string): Promise<boolean> {
  const handle = await open(file).catch(() => null);
  if (!handle) return false;
  try {
    const { buffer } = await handle.read(Buffer.alloc(4), 0, 4, 0);
    return buffer.toString('latin1') === 'GGUF';
  } finally {
    await handle.close();
  }
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
