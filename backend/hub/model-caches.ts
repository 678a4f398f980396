/**
 * Models that other programs have downloaded to this machine: the Hugging Face cache, Ollama's blobs by their manifests, LM Studio and
 * llama.cpp's cache. Reads names, sizes and small JSON files, and trusts none of them; opens no model.
 */
import { stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';
import { isRecord } from '../../protocol/foreign.ts';
import { shown } from '../../protocol/shown.ts';
import { openRegularBeside } from '../system/files.ts';
import { platformCaches, userCache, type Environment } from '../system/user-cache.ts';
import { entriesOf, filesBelow, jsonOf, sizeOf, sumOf, textOf } from './cache-entries.ts';
import { isLaterPart, partsOf } from './files.ts';
import { huggingFaceHub } from './hugging-face.ts';
import { hasAllShards } from './complete-downloads.ts';

export type CacheName = 'huggingface' | 'ollama' | 'lm-studio' | 'llama.cpp' | 'early-exit';

export interface CachedModel {
  readonly cache: CacheName;
  /** As its program calls it, such as `qwen2.5-coder:0.5b` or `owner/name`. */
  readonly name: string;
  /** The value of the setting: a path, or a hub id if that leads to it. */
  readonly reference: string;
  readonly bytes: number;
  /** Such as `Q4_K_M`; empty if unknown. */
  readonly type: string;
  /** Why it cannot be used, as a sentence; null if it is complete. */
  readonly problem: string | null;
}

export interface Places {
  readonly home: string;
  readonly platform: NodeJS.Platform;
  readonly environment: Environment;
  /** Our own cache. */
  readonly own: string;
}

export const placesHere = (): Places => ({
  home: homedir(),
  platform: process.platform,
  environment: process.env,
  own: userCache(),
});

/** Every model of every cache, by name. What cannot be read is no cache, and an entry that is no model's is left out. */
export async function cachedModels(places: Places): Promise<CachedModel[]> {
  const all = await Promise.all([
    huggingFaceModels(places),
    ollamaModels(places),
    lmStudioModels(places),
    llamaModels(places),
    ownModels(places),
  ]);
  return all.flat().sort((a, b) => a.name.localeCompare(b.name));
}

async function huggingFaceModels({ home, environment }: Places): Promise<CachedModel[]> {
  const root = huggingFaceHub(environment, home);
  return modelsOf(await entriesOf(root), async ({ name: folder }) => {
    const repository = /^models--([\w.-]+?)--([\w.-]+)$/.exec(folder);
    if (!repository) return [];
    const name = `${repository[1]}/${repository[2]}`;
    const commit = await textOf(path.join(root, folder, 'refs', 'main'));
    if (commit === null || !/^[0-9a-f]{7,64}$/.test(commit.trim())) return [];
    const snapshot = path.join(root, folder, 'snapshots', commit.trim());
    const blobs = await entriesOf(path.join(root, folder, 'blobs'));
    const isLoading = blobs.some((blob) => blob.name.endsWith('.incomplete'));
    return snapshotModels(name, snapshot, isLoading);
  });
}

/** The models of each entry. One that breaks reading in an unforeseen way leaves the others in the list. */
async function modelsOf<Entry>(
  entries: readonly Entry[],
  read: (entry: Entry) => Promise<CachedModel[]>,
): Promise<CachedModel[]> {
  const found: CachedModel[] = [];
  for (const entry of entries) found.push(...(await read(entry).catch(() => [])));
  return found;
}

/** A snapshot's links lead to blobs: one that leads nowhere was not downloaded to its end. */
async function snapshotModels(name: string, snapshot: string, isLoading: boolean): Promise<CachedModel[]> {
  const names = (await entriesOf(snapshot)).map((entry) => entry.name);
  const places = names.map((each) => path.join(snapshot, each));
  const unfinished = (file: string): string =>
    `${shown(file)} of ${name} is not whole: its download${isLoading ? ' has not ended' : ' was interrupted'}.`;
  const models: CachedModel[] = [];
  for (const file of names.filter((each) => each.endsWith('.gguf') && !isLaterPart(each))) {
    const parts = await ggufParts(path.join(snapshot, file), places);
    if (parts === null) continue;
    const { bytes, isWhole } = parts;
    const problem = isWhole ? null : unfinished(file);
    models.push(model('huggingface', `${name}:${file}`, `${name}:${file}`, bytes, typeIn(file), problem));
  }
  if (!names.includes('config.json')) return models;
  const weights = names.filter((each) => each.endsWith('.safetensors'));
  const hasWeights = names.includes('model.safetensors') || hasAllShards(snapshot);
  const isWhole = names.includes('tokenizer.json') && hasWeights;
  const lack = hasWeights
    ? 'there is no tokenizer.json'
    : names.includes('model.safetensors.index.json')
      ? 'some of its shards are missing'
      : 'there is no model.safetensors';
  const sizes = await Promise.all(weights.map((file) => sizeOf(path.join(snapshot, file))));
  const missing = weights.find((_, i) => sizes[i] === null);
  const config = await jsonOf(path.join(snapshot, 'config.json'));
  const problem =
    missing !== undefined || (isLoading && !isWhole)
      ? unfinished(missing ?? 'model.safetensors')
      : isWhole
        ? null
        : `${name} was not downloaded whole: ${lack}.`;
  const type = config?.['torch_dtype'] ?? config?.['dtype'];
  if (weights.length > 0 || isLoading)
    models.push(model('huggingface', name, name, sumOf(sizes), typeof type === 'string' ? type : '', problem));
  return models;
}

async function ollamaModels({ home, platform, environment }: Places): Promise<CachedModel[]> {
  const roots = environment['OLLAMA_MODELS']
    ? [environment['OLLAMA_MODELS']]
    : [path.join(home, '.ollama', 'models'), ...(platform === 'linux' ? ['/usr/share/ollama/.ollama/models'] : [])];
  return modelsOf(roots, async (root) =>
    modelsOf(await filesBelow(path.join(root, 'manifests'), 5), (manifest) => ollamaModel(root, manifest)),
  );
}

async function ollamaModel(root: string, manifest: string): Promise<CachedModel[]> {
  const content = await jsonOf(manifest);
  const layers: unknown = content?.['layers'];
  const layer: unknown = Array.isArray(layers)
    ? layers.find((each) => isRecord(each) && each['mediaType'] === 'application/vnd.ollama.image.model')
    : undefined;
  if (!isRecord(layer)) return [];
  const [host, namespace, ...rest] = path.relative(path.join(root, 'manifests'), manifest).split(path.sep);
  const tag = rest.pop() ?? '';
  const from = host === 'registry.ollama.ai' ? (namespace === 'library' ? [] : [namespace]) : [host, namespace];
  const name = `${[...from, ...rest].join('/')}:${tag}`;
  const digest = digestOf(layer);
  if (digest === null) return [];
  const file = path.join(root, 'blobs', `sha256-${digest}`);
  const bytes = await sizeOf(file);
  const isWhole = bytes !== null && bytes === layer['size'] && (await isGguf(file));
  const about = digestOf(content?.['config']);
  const details = about === null ? null : await jsonOf(path.join(root, 'blobs', `sha256-${about}`));
  const type = details?.['file_type'];
  const problem = isWhole
    ? null
    : `${shown(name)} of Ollama is not whole: pull it again with ollama pull ${shown(name)}.`;
  const size = bytes ?? (typeof layer['size'] === 'number' ? layer['size'] : 0);
  return [model('ollama', name, file, size, typeof type === 'string' ? type : '', problem)];
}

function digestOf(part: unknown): string | null {
  const digest = isRecord(part) ? part['digest'] : null;
  return (typeof digest === 'string' && /^sha256:([0-9a-f]{64})$/.exec(digest)?.[1]) || null;
}

async function lmStudioModels({ home, environment }: Places): Promise<CachedModel[]> {
  const roots = [
    environment['LMSTUDIO_MODELS'] || path.join(home, '.lmstudio', 'models'),
    path.join(home, '.cache', 'lm-studio', 'models'),
  ];
  const files = (await Promise.all(roots.map((root) => filesBelow(root, 3)))).flat();
  return ggufFiles('lm-studio', files, (file) => file.split(path.sep).slice(-3).join('/'));
}

async function llamaModels({ home, platform, environment }: Places): Promise<CachedModel[]> {
  const cache = environment['LLAMA_CACHE'] || path.join(platformCaches(environment, home, platform), 'llama.cpp');
  const files = await filesBelow(cache, 1);
  return ggufFiles('llama.cpp', files, (file) => path.basename(file));
}

/** Ends of names under which LM Studio and llama.cpp download. */
const unfinishedEnds = ['.downloadInProgress', '.part', '.download'];

/** GGUF files, complete or not. Of a model in several files the first represents all. */
const ggufFiles = (
  cache: CacheName,
  files: readonly string[],
  nameOf: (file: string) => string,
): Promise<CachedModel[]> =>
  modelsOf(files, async (file) => {
    const end = unfinishedEnds.find((each) => file.endsWith(`.gguf${each}`));
    if (end === undefined && (!file.endsWith('.gguf') || isLaterPart(file))) return [];
    const name = nameOf(end === undefined ? file : file.slice(0, -end.length));
    const parts = await ggufParts(file, files);
    if (parts === null) return [];
    const { bytes, isWhole } = parts;
    const problem = isWhole && end === undefined ? null : `${shown(name)} is not whole: its download has not ended.`;
    return [model(cache, name, file, bytes, typeIn(name), problem)];
  });

/** What was downloaded by us, by the notes of hub.ts. */
async function ownModels({ own }: Places): Promise<CachedModel[]> {
  const root = path.join(own, 'models');
  return modelsOf(await entriesOf(root), async ({ name: folder }) => {
    const repository = /^([\w.-]+?)--([\w.-]+)$/.exec(folder);
    if (!repository) return [];
    return modelsOf(await entriesOf(path.join(root, folder, 'refs')), async ({ name: note }) => {
      const [revision, file = ''] = decoded(note.replace(/\.json$/, '')).split(':');
      const target = (await jsonOf(path.join(root, folder, 'refs', note)))?.['target'];
      if (typeof target !== 'string' || target.split(/[/\\]/).includes('..')) return [];
      const place = path.join(root, folder, target);
      const bytes = place.endsWith('.gguf')
        ? ((await ggufParts(place, await filesBelow(path.dirname(place), 1)))?.bytes ?? 0)
        : sumOf(await Promise.all((await filesBelow(place, 1)).map(sizeOf)));
      const name = `${repository[1]}/${repository[2]}${revision === 'main' ? '' : `@${revision}`}${file && `:${file}`}`;
      return bytes > 0 ? [model('early-exit', name, name, bytes, typeIn(file || target), null)] : [];
    });
  });
}

function decoded(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

const model = (
  cache: CacheName,
  name: string,
  reference: string,
  bytes: number,
  type: string,
  problem: string | null,
): CachedModel => ({ cache, name: shown(name), reference, bytes, type: shown(type, { limit: 20 }), problem });

/** The type of weights in a name: `Q4_K_M`, `F16`. */
export const typeIn = (name: string): string =>
  /(?:^|[-._])((?:i?q\d+(?:_[a-z0-9]+)*)|bf16|f16|f32)(?=[-.]|$)/i.exec(path.basename(name))?.[1]?.toUpperCase() ?? '';

/** Whether a regular file begins as a GGUF file does. */
export async function isGguf(file: string): Promise<boolean> {
  const handle = await openRegularBeside(file).catch(() => null);
  if (!handle) return false;
  try {
    const { buffer } = await handle.read(Buffer.alloc(4), 0, 4, 0);
    return buffer.toString('latin1') === 'GGUF';
  } catch {
    return false;
  } finally {
    await handle.close();
  }
}

/** A GGUF file together with its other parts in `files`; null if one is no file. */
async function ggufParts(file: string, files: readonly string[]): Promise<{ bytes: number; isWhole: boolean } | null> {
  const among = files.map((each) => ({ path: each }));
  const { parts, count } = partsOf({ path: file }, among);
  const kinds = await Promise.all(parts.map((part) => stat(part.path).catch(() => null)));
  if (kinds.some((kind) => kind && !kind.isFile())) return null;
  const areGguf = await Promise.all(parts.map((part) => isGguf(part.path)));
  const sizes = await Promise.all(parts.map((part) => sizeOf(part.path)));
  return { bytes: sumOf(sizes), isWhole: parts.length === count && areGguf.every(Boolean) };
}
