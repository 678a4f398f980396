/**
 * From what a user calls a model to a path on this machine: a folder, a GGUF file, or a model of the Hugging Face hub, which is
 * downloaded into the user's cache once and never looked up again. Knows nothing of what is in the files.
 *
 * Cache: `<owner>--<name>/<commit>/…` the files, `<owner>--<name>/refs/…json` which of them a reference means.
 */
import { existsSync, statfsSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { userError } from '../../protocol/errors.ts';
import { shown } from '../../protocol/shown.ts';
import { fileError, makeFolder, readText, writeFileAtomically } from '../system/files.ts';
import { userCache, type Environment } from '../system/user-cache.ts';
import { bytesHere, downloadFile, hubError } from './download.ts';
import { isBesideWeights, isLaterPart, selectFiles, type HubFile } from './files.ts';
import { huggingFaceHome, huggingFaceHub } from './hugging-face.ts';
import { hasAllParts, hasAllShards } from './complete-downloads.ts';

export interface ResolveOptions {
  /** Default: `models` in the user's cache. */
  readonly cacheDirectory?: string;
  /** Bytes on disk, of all the files of the model. */
  readonly onProgress?: (done: number, total: number, file: string) => void;
  /** Called with a sentence about what could not be checked. */
  readonly onWarning?: (message: string) => void;
  /** Looks at a directory before its weights come: what it throws ends the download. */
  readonly inspect?: (folder: string) => void;
  /** Looks at the part of a GGUF file that has come first; `file` is what it will be called. What it throws ends the download. */
  readonly inspectGguf?: (part: string, file: string) => void;
  readonly signal?: AbortSignal;
  /** HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_CACHE and XDG_CACHE_HOME are looked at. */
  readonly environment?: Environment;
}

/** `owner/name[@revision][:file.gguf]`. */
export interface HubReference {
  readonly repository: string;
  readonly revision: string;
  readonly file: string | null;
}

/**
 * The local path of a model: a directory or a GGUF file. An existing path is returned as it is. Downloads are resumed, and checked against
 * the hub's sizes and checksums: without a size nothing is downloaded, without a checksum there is a warning. Throws `not-found`,
 * `unsupported`, `bad-argument`, `network`, `file-system`, `cancelled`.
 */
export async function resolveModel(reference: string, options: ResolveOptions = {}): Promise<string> {
  if (existsSync(reference)) return reference;
  const hub = parseHubReference(reference);
  if (hub === null)
    throw userError(
      'not-found',
      `There is no model at ${reference}.`,
      'Give a Hugging Face directory, a GGUF file, or a hub id such as owner/name or owner/name:file.gguf.',
    );
  const environment = options.environment ?? process.env;
  return here(hub, options) ?? (await download(rootOf(hub, options), hub, options, environment));
}

/** The path of a model on this machine; null for one that would have to be downloaded, and for a name of no model. */
export function localModel(reference: string, options: ResolveOptions = {}): string | null {
  if (existsSync(reference)) return reference;
  const hub = parseHubReference(reference);
  return hub === null ? null : here(hub, options);
}

const rootOf = ({ repository }: HubReference, { cacheDirectory, environment }: ResolveOptions): string =>
  join(cacheDirectory ?? join(userCache(environment), 'models'), folderOf(repository));

const here = (hub: HubReference, options: ResolveOptions): string | null =>
  remembered(rootOf(hub, options), hub) ?? fromHuggingFaceCache(hub, options.environment ?? process.env);

/** What names a model of the hub that lies at this path in our cache or Hugging Face's; null for any other path. */
export function hubReferenceOf(path: string): string | null {
  const place =
    /(?:^|[\\/])(models--)?([\w-][\w.-]*?)--([\w.-]+)[\\/](?:snapshots[\\/])?[0-9a-f]{7,64}(?:[\\/](.+))?$/.exec(path);
  if (!place) return null;
  const [, , owner, name, file] = place;
  const reference = `${owner}/${name}${file === undefined ? '' : `:${file.replaceAll('\\', '/')}`}`;
  const found = parseHubReference(reference) === null ? null : localModel(reference);
  return found !== null && resolve(found) === resolve(path) ? reference : null;
}

/** Null for what can only be a path. */
export function parseHubReference(reference: string): HubReference | null {
  const match = /^([\w-][\w.-]*\/[\w-][\w.-]*)(?:@([^:@]+))?(?::([^:]+))?$/.exec(reference);
  const [, repository, revision = 'main', file = null] = match ?? [];
  if (repository === undefined || (file === null && repository.endsWith('.gguf'))) return null;
  if (file !== null && !isSafePath(file)) return null;
  return { repository, revision, file };
}

const folderOf = (repository: string): string => repository.replace('/', '--');

const refFile = (root: string, { revision, file }: HubReference): string =>
  join(root, 'refs', `${encodeURIComponent(`${revision}:${file ?? ''}`)}.json`);

function remembered(root: string, hub: HubReference): string | null {
  const path = refFile(root, hub);
  if (!existsSync(path)) return null;
  try {
    const { target } = JSON.parse(readText(path)) as { target?: unknown };
    const found = typeof target === 'string' && isSafePath(target) ? join(root, target) : null;
    return found !== null && existsSync(found) ? found : null;
  } catch {
    // A damaged note costs one look at the hub, no more.
    return null;
  }
}

/** Of a file that another program wrote; null if there is none that can be read. */
function textOf(file: string): string | null {
  try {
    return readText(file);
  } catch {
    return null;
  }
}

/** A model that another Hugging Face program has downloaded completely. */
function fromHuggingFaceCache(hub: HubReference, environment: Environment): string | null {
  const root = join(huggingFaceHub(environment, homedir()), `models--${folderOf(hub.repository)}`);
  const ref = join(root, 'refs', hub.revision);
  const commit = textOf(ref)?.trim() ?? hub.revision;
  if (!isSafePath(commit)) return null;
  const snapshot = join(root, 'snapshots', commit);
  if (hub.file !== null) return hasAllParts(join(snapshot, hub.file)) ? join(snapshot, hub.file) : null;
  const has = (name: string): boolean => existsSync(join(snapshot, name));
  return has('config.json') && has('tokenizer.json') && (has('model.safetensors') || hasAllShards(snapshot))
    ? snapshot
    : null;
}

async function download(
  root: string,
  hub: HubReference,
  options: ResolveOptions,
  environment: Environment,
): Promise<string> {
  const { onProgress, signal } = options;
  // Loaded only here: most runs never download.
  const { HUB_URL, listFiles, modelInfo } = await import('@huggingface/hub');
  const { endpoint, token, access } = hubAccess(HUB_URL, environment, signal);
  let commit: string;
  const files: HubFile[] = [];
  let entries = 0;
  try {
    const { repository: name, revision } = hub;
    ({ sha: commit } = await modelInfo({ name, revision, additionalFields: ['sha'], ...access }));
    for await (const entry of listFiles({
      repo: { type: 'model', name },
      revision: commit,
      recursive: true,
      ...access,
    })) {
      if (++entries > maxEntries) throw new Error(`the list of its files has more than ${maxEntries} entries`);
      if (entry.type === 'file' && isSafePath(entry.path))
        files.push({ path: entry.path, size: entry.lfs?.size ?? entry.size, ...checksumOf(entry) });
    }
  } catch (error) {
    throw hubError(isMisread(error) ? misread : error, hub.repository, endpoint, signal);
  }
  if (typeof commit !== 'string' || !/^[0-9a-f]{7,64}$/.test(commit))
    throw userError('network', `${endpoint} gave no commit of ${hub.repository}.`, 'Check HF_ENDPOINT.');
  const { wanted, target } = selectFiles(hub, files);
  const unsized = wanted.find(({ size }) => !Number.isSafeInteger(size) || size < 0);
  if (unsized !== undefined)
    throw userError(
      'network',
      `${endpoint} does not say how large ${unsized.path} of ${hub.repository} is: what comes could not be checked.`,
      'Ask another hub (HF_ENDPOINT), or get the model in another way and name its folder or file.',
    );
  const folder = join(root, commit);
  const missing = wanted.filter(({ path }) => !existsSync(join(folder, path)));
  checkSpace(root, folder, missing);
  const total = wanted.reduce((sum, { size }) => sum + size, 0);
  let done = total - missing.reduce((sum, { size }) => sum + size, 0);
  let isInspected = target !== '.';
  for (const file of missing) {
    if (!isInspected && !isBesideWeights(file)) {
      options.inspect?.(folder);
      isInspected = true;
    }
    const path = join(folder, file.path);
    const isGguf = file.path.endsWith('.gguf') && !isLaterPart(file.path);
    await downloadFile({
      url: `${endpoint}/${hub.repository}/resolve/${commit}/${file.path.split('/').map(encodeURIComponent).join('/')}`,
      path,
      file,
      repository: hub.repository,
      endpoint,
      token,
      ...(signal && { signal }),
      onBytes: (bytes) => onProgress?.(done + bytes, total, file.path),
      ...(isGguf && { inspect: (part) => options.inspectGguf?.(part, path) }),
    });
    done += file.size;
    if (file.sha256 === null && file.blob === null)
      options.onWarning?.(`${file.path} of ${hub.repository} came without a checksum: only its size could be checked.`);
  }
  writeFileAtomically(refFile(root, hub), [
    JSON.stringify({ target: target === '.' ? commit : `${commit}/${target}` }),
  ]);
  return resolve(folder, target);
}

/** Address, token and options of the hub, as its own library takes them. Throws `bad-argument` if HF_ENDPOINT is no address. */
export function hubAccess(
  hubUrl: string,
  environment: Environment,
  signal: AbortSignal | undefined,
): {
  endpoint: string;
  token: string | null;
  access: { hubUrl: string; fetch: typeof fetch };
} {
  const endpoint = (environment['HF_ENDPOINT'] || hubUrl).replace(/\/+$/, '');
  if (!URL.canParse(endpoint) || !/^https?:$/.test(new URL(endpoint).protocol))
    throw userError(
      'bad-argument',
      `HF_ENDPOINT is no address: ${shown(endpoint, { limit: 300 })}.`,
      'Set it to one with https:// in front, or unset it.',
    );
  const token = tokenOf(environment);
  const access = { hubUrl: endpoint, fetch: fetchWith(endpoint, token, signal) };
  return { endpoint, token, access };
}

/** A value that is no hash cannot be compared, so it counts as missing. */
function checksumOf({ oid, lfs }: { oid?: unknown; lfs?: { oid?: unknown } }): Pick<HubFile, 'sha256' | 'blob'> {
  const hash = (value: unknown, digits: number): string | null =>
    typeof value === 'string' && value.length === digits && /^[0-9a-f]+$/.test(value) ? value : null;
  return { sha256: hash(lfs?.oid, 64), blob: lfs === undefined ? hash(oid, 40) : null };
}

function checkSpace(root: string, folder: string, files: readonly HubFile[]): void {
  const needed = files.reduce((sum, { path, size }) => sum + size - Math.min(size, bytesHere(join(folder, path))), 0);
  try {
    makeFolder(root);
  } catch (error) {
    throw fileError(error, 'write', root);
  }
  const { bavail, bsize } = statfsSync(root);
  if (needed > bavail * bsize)
    throw userError(
      'file-system',
      `The download needs ${megabytes(needed)}, but ${dirname(root)} has ${megabytes(bavail * bsize)} left.`,
      'Free some space, or set EARLY_EXIT_CACHE to another folder.',
    );
}

const megabytes = (bytes: number): string => `${Math.round(bytes / 1e6)} MB`;

/** The user's token from HF_TOKEN, or from the file of the Hugging Face tools. */
function tokenOf(environment: Environment): string | null {
  const token = environment['HF_TOKEN'] || (textOf(join(huggingFaceHome(environment, homedir()), 'token')) ?? '');
  return token.trim() || null;
}

/** A model has dozens of files; a longer listing is taken for endless. */
const maxEntries = 20_000;
const maxPages = 1_000;
const maxAnswerBytes = 2 ** 25;
const answerMs = 60_000;

/**
 * Options for the hub's own API: the token is sent only to the hub, wherever its pages lead, and the number and size of answers are
 * limited.
 */
function fetchWith(endpoint: string, token: string | null, signal: AbortSignal | undefined): typeof fetch {
  const { origin } = new URL(endpoint);
  let pages = 0;
  return async (input, init) => {
    if (++pages > maxPages) throw new Error(`its list of files has more than ${maxPages} pages`);
    const url = new URL(input instanceof Request ? input.url : input);
    const headers = new Headers(init?.headers);
    // The library takes only tokens of Hugging Face's own form; other hubs have others.
    if (token !== null && url.origin === origin) headers.set('authorization', `Bearer ${token}`);
    const limit = AbortSignal.timeout(answerMs);
    const response = await fetch(url, { ...init, headers, signal: signal ? AbortSignal.any([signal, limit]) : limit });
    const pieces: Uint8Array[] = [];
    let bytes = 0;
    for await (const piece of (response.body ?? []) as unknown as AsyncIterable<Uint8Array>) {
      bytes += piece.length;
      if (bytes > maxAnswerBytes) throw new Error(`${origin} answers with more than ${maxAnswerBytes} bytes`);
      pieces.push(piece);
    }
    const { status, statusText } = response;
    const body = [101, 204, 205, 304].includes(status) ? null : Buffer.concat(pieces);
    return new Response(body, { status, statusText, headers: response.headers });
  };
}

/** Relative, forward, and within its folder: nothing from the hub may name a file elsewhere. */
const isSafePath = (path: string): boolean =>
  path !== '' && !/[\\:\0]/.test(path) && path.split('/').every((part) => part !== '' && part !== '.' && part !== '..');

/** The library takes the form of an answer for granted; a connection that fails is a TypeError, too, with a cause. */
const isMisread = (error: unknown): boolean => error instanceof TypeError && error.cause === undefined;
const misread = new Error('its answer has not the form of a hub’s');
