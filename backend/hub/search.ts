/** Searches the hub for models that can be opened here, and lists the GGUF files of one. Downloads nothing. */
import { UserError, userError } from '../../protocol/errors.ts';
import { shown } from '../../protocol/shown.ts';
import type { Environment } from '../system/user-cache.ts';
import { hubAccess } from './hub.ts';
import { isLaterPart, partsOf } from './files.ts';
import { typeIn } from './model-caches.ts';

export interface HubModel {
  /** `owner/name`. */
  readonly name: string;
  readonly downloads: number;
}

export interface HubChoice {
  /** What the setting takes: `owner/name` or `owner/name:file.gguf`. */
  readonly reference: string;
  readonly bytes: number;
  readonly type: string;
}

export interface SearchOptions {
  readonly environment?: Environment;
  readonly signal?: AbortSignal;
}

/** For each kind of file; both kinds are queried. */
const mostFound = 15;
const mostFiles = 2_000;

/** Models whose name contains the words, most downloaded first. @throws UserError `network` if the hub does not answer. */
export async function searchHub(query: string, options: SearchOptions = {}): Promise<HubModel[]> {
  const { listModels, HUB_URL } = await import('@huggingface/hub');
  const { endpoint, access } = hubAccess(HUB_URL, options.environment ?? process.env, options.signal);
  const found = new Map<string, HubModel>();
  const ask = async (tag: string): Promise<void> => {
    const search = { query, tags: [tag] };
    for await (const { name, downloads } of listModels({ search, sort: 'downloads', limit: mostFound, ...access })) {
      if (typeof name === 'string' && /^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(name))
        found.set(name, { name, downloads: Number.isFinite(downloads) ? downloads : 0 });
    }
  };
  await answered(Promise.all([ask('gguf'), ask('safetensors')]), endpoint, options.signal);
  return [...found.values()].sort((a, b) => b.downloads - a.downloads);
}

/** What of a model can be downloaded: each of its GGUF files, and its safetensors as a whole. @throws UserError `network`. */
export async function hubChoices(repository: string, options: SearchOptions = {}): Promise<HubChoice[]> {
  const { listFiles, HUB_URL } = await import('@huggingface/hub');
  const { endpoint, access } = hubAccess(HUB_URL, options.environment ?? process.env, options.signal);
  const files: { path: string; size: number }[] = [];
  const read = async (): Promise<void> => {
    for await (const { type, path, size, lfs } of listFiles({
      repo: { type: 'model', name: repository },
      recursive: true,
      ...access,
    })) {
      if (files.length >= mostFiles) return;
      if (type === 'file' && typeof path === 'string') files.push({ path, size: lfs?.size ?? size });
    }
  };
  await answered(read(), endpoint, options.signal);
  const ggufs = files
    .filter(({ path }) => path.endsWith('.gguf') && !isLaterPart(path))
    .map((file) => ({ path: file.path, ...partsOf(file, files) }))
    .filter(({ parts, count }) => parts.length === count);
  const tensors = files.filter(({ path }) => /^model(-\d+-of-\d+)?\.safetensors$/.test(path));
  const whole = tensors.reduce((sum, { size }) => sum + size, 0);
  return [
    ...ggufs.map(({ path, parts }) => ({
      reference: `${repository}:${path}`,
      bytes: parts.reduce((sum, { size }) => sum + size, 0),
      type: typeIn(path),
    })),
    ...(whole > 0 ? [{ reference: repository, bytes: whole, type: 'safetensors' }] : []),
  ].sort((a, b) => a.bytes - b.bytes);
}

async function answered(answer: Promise<unknown>, endpoint: string, signal: AbortSignal | undefined): Promise<void> {
  try {
    await answer;
  } catch (error) {
    if (error instanceof UserError) throw error;
    if (signal?.aborted) throw userError('cancelled', 'Cancelled.');
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    const why = shown(cause instanceof Error ? cause.message : String(cause), { limit: 300 });
    throw userError(
      'network',
      `The hub at ${endpoint} does not answer: ${why}.`,
      'Check the connection. Models on this machine need no network.',
      error,
    );
  }
}
