/** Finds models, exits and studies below folders, for lists. Reads names and small JSON files only. */
import type { Dirent } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { isRecord } from '../../../protocol/foreign.ts';
import { plural } from '../../../protocol/plural.ts';
import type { ExitsSummary, ModelSummary, StudySummary } from '../../../protocol/server.ts';
import { evaluationFile, sweepFile } from '../../../protocol/tasks.ts';
import { isGguf } from '../../hub/model-caches.ts';
import { readTextBeside } from '../../system/files.ts';
import { infoFile, parametersFile } from '../../formats/our-folders.ts';

/** Depth of folders in which models of a workspace are searched. */
const DEPTH = 4;
/** Enough for a list; a folder with more entries is no workspace, but a disk. */
const MAX_FOLDERS = 5_000;
const skipped = new Set(['node_modules', '.git', 'dist', 'out', 'build', 'target']);

/** Every folder with a checkpoint below the folders. Other programs may have an `exits.json`, too, so its parameters must lie beside it. */
export async function exitsFolders(folders: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  await walk(folders, async (directory, names) => {
    if (names.has(infoFile) && names.has(parametersFile)) found.push(directory);
  });
  return found;
}

/** Every checkpoint below the folders, by name. */
export async function findExits(folders: readonly string[]): Promise<ExitsSummary[]> {
  const found: ExitsSummary[] = [];
  for (const directory of await exitsFolders(folders)) found.push(await readExits(directory));
  return found.sort((a, b) => a.name.localeCompare(b.name));
}

/** The newest checkpoint below the folders for the model with this hash, or null. If no checkpoint is there, the hash is not computed. */
export async function exitsOfBase(folders: readonly string[], hashOf: () => Promise<string>): Promise<string | null> {
  const bases: { readonly directory: string; readonly sha256: string; readonly at: number }[] = [];
  for (const directory of await exitsFolders(folders)) {
    const file = path.join(directory, infoFile);
    const sha256 = baseHash((await readTextBeside(file)) ?? '');
    if (sha256 !== null) bases.push({ directory, sha256, at: (await stat(file)).mtimeMs });
  }
  if (bases.length === 0) return null;
  const hash = await hashOf();
  const own = bases.filter(({ sha256 }) => sha256 === hash).sort((a, b) => b.at - a.at);
  return own[0]?.directory ?? null;
}

function baseHash(content: string): string | null {
  try {
    const file: unknown = JSON.parse(content);
    const base = isRecord(file) ? file.base : undefined;
    return isRecord(base) && typeof base.sha256 === 'string' ? base.sha256 : null;
  } catch {
    return null;
  }
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

/** Every folder of a sweep or of judged tasks below the folders, by name. */
export async function findStudies(folders: readonly string[]): Promise<StudySummary[]> {
  const found: StudySummary[] = [];
  await walk(folders, async (directory, names) => {
    const kind = names.has(sweepFile) ? 'sweep' : names.has(evaluationFile) ? 'tasks' : null;
    if (kind === null) return;
    const text = (await readTextBeside(path.join(directory, kind === 'sweep' ? sweepFile : evaluationFile))) ?? '';
    found.push({ directory, name: path.basename(directory), kind, detail: detailOf(text) });
  });
  return found.sort((a, b) => a.name.localeCompare(b.name));
}

/** The number of trials of a sweep, or the model of judged tasks; empty for a damaged file: the report shows its error. */
function detailOf(text: string): string {
  try {
    const file: unknown = JSON.parse(text);
    if (!isRecord(file)) return '';
    if (Array.isArray(file.trials)) return plural(file.trials.length, 'trial');
    return isRecord(file.identity) && typeof file.identity.model === 'string' ? file.identity.model : '';
  } catch {
    return '';
  }
}

/** Visits each folder once, also if one of `folders` is below another. */
async function walk(
  folders: readonly string[],
  visit: (directory: string, names: Set<string>) => Promise<void>,
): Promise<void> {
  const visited = new Set<string>();
  const enter = async (directory: string, depth: number): Promise<void> => {
    if (visited.has(directory) || visited.size === MAX_FOLDERS) return;
    visited.add(directory);
    const entries: Dirent[] = await readdir(directory, { withFileTypes: true }).catch(() => []);
    await visit(directory, new Set(entries.filter((entry) => entry.isFile()).map((entry) => entry.name)));
    if (depth === DEPTH) return;
    for (const entry of entries) {
      if (entry.isDirectory() && !skipped.has(entry.name)) await enter(path.join(directory, entry.name), depth + 1);
    }
  };
  // The inner one first, so that it is searched to its whole depth.
  for (const folder of [...folders].sort((a, b) => b.length - a.length)) await enter(path.resolve(folder), 0);
}

async function readExits(directory: string): Promise<ExitsSummary> {
  const summary: ExitsSummary = {
    directory,
    name: path.basename(directory),
    model: '',
    exits: [],
    tokens: null,
    calibration: null,
  };
  try {
    const file: unknown = JSON.parse((await readTextBeside(path.join(directory, infoFile))) ?? '');
    if (!isRecord(file)) return summary;
    const { base, exits, progress, calibration } = file;
    return {
      ...summary,
      model: isRecord(base) && typeof base.name === 'string' ? base.name : '',
      exits: Array.isArray(exits) ? exits.flatMap(exitName) : [],
      tokens: isRecord(progress) && typeof progress.tokens === 'number' ? progress.tokens : null,
      calibration: calibrationOf(calibration),
    };
  } catch {
    return summary; // Listed nevertheless: opening it shows the error.
  }
}

function calibrationOf(calibration: unknown): ExitsSummary['calibration'] {
  if (!isRecord(calibration) || typeof calibration.fastest !== 'string') return null;
  const brought = isRecord(calibration.brought) ? calibration.brought : {};
  const value = (figure: unknown): number | null =>
    isRecord(figure) && typeof figure.value === 'number' ? figure.value : null;
  return { mode: calibration.fastest, speedup: value(brought.speedup), agreement: value(brought.agreement) };
}

const exitName = (exit: unknown): string[] =>
  isRecord(exit) && typeof exit.layer === 'number' && typeof exit.architecture === 'string'
    ? [`${exit.layer}:${exit.architecture}`]
    : [];
