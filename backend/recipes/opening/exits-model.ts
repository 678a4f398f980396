/** Finds the model of exits: at the path of their run, else, by its hash, among the models of this machine. */
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { UserError, userError } from '../../../protocol/errors.ts';
import { shown } from '../../../protocol/shown.ts';
import { readInfo, type BaseModel } from '../../checkpoint/checkpoint.ts';
import { localModel } from '../../hub/hub.ts';
import { cachedModels, placesHere, type CachedModel, type Places } from '../../hub/model-caches.ts';
import { statOf } from '../../system/files.ts';
import { isContinued } from '../training/continued.ts';
import { lastModels } from '../at-hand/last-used.ts';
import { modelHash } from './model-hash.ts';

/**
 * The path of the model of the exits in a folder.
 * @throws UserError if the folder has no exits, or their model is in none of the known places.
 */
export async function modelOfExits(
  directory: string,
  signal?: AbortSignal,
  places: Places = placesHere(),
): Promise<string> {
  const info = readInfo(directory);
  const named = info.tuning['model'];
  const own = typeof named === 'string' ? localModel(named) : null;
  // A run that trains the whole model begins with another one than its exits belong to.
  if (own !== null && isContinued(info)) return own;
  if (own !== null && (await hasHash(own, info.base, signal))) return own;
  for (const place of await nearPlaces(directory, info.base, places))
    if (place !== own && (await hasHash(place, info.base, signal))) return place;
  throw userError(
    'not-found',
    `The exits in ${directory} belong to ${shown(info.base.name)} (SHA-256 ${info.base.sha256.slice(0, 12)}…), which is in none of the folders of models on this machine.`,
    'Name it with --model.',
  );
}

/** Paths that may be the model by their names, the most similar first. */
async function nearPlaces(directory: string, base: BaseModel, places: Places): Promise<string[]> {
  const isNamed = (place: string): boolean => path.basename(place) === base.name;
  const beside = [path.dirname(path.resolve(directory)), process.cwd()].flatMap(entriesOf).filter(isNamed);
  const remembered = lastModels().filter(isNamed);
  const cached = (await cachedModels(places)).filter((one) => one.problem === null && mayBe(one, base));
  const paths = cached.flatMap(({ reference }) => localModel(reference) ?? []);
  return [...new Set([...beside, ...remembered, ...paths])].filter((place) => existsSync(place));
}

/** Ollama names files by their hash; a folder of the hub is called after its commit here, so that any may be it. */
function mayBe({ cache, name, reference }: CachedModel, { name: wanted, sha256 }: BaseModel): boolean {
  if (cache === 'ollama') return reference.includes(sha256);
  const isFolder = !name.endsWith('.gguf');
  return isFolder
    ? !wanted.endsWith('.gguf')
    : path.posix.basename(name.replaceAll('\\', '/').split(':').at(-1)!) === wanted;
}

async function hasHash(place: string, { sha256 }: BaseModel, signal?: AbortSignal): Promise<boolean> {
  try {
    return (await modelHash(place, signal)) === sha256;
  } catch (error) {
    if (signal?.aborted || !(error instanceof UserError)) throw error;
    return false;
  }
}

function entriesOf(folder: string): string[] {
  if (!statOf(folder)?.isDirectory()) return [];
  try {
    return readdirSync(folder).map((name) => path.join(folder, name));
  } catch {
    return [];
  }
}
