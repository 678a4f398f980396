/**
 * Downloads one file from the hub: an earlier attempt is resumed by range, the file is checked, and gets its name only when it is complete.
 */
import { createHash } from 'node:crypto';
import { closeSync, createReadStream, existsSync, fsyncSync, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { UserError, userError } from '../../protocol/errors.ts';
import { shown } from '../../protocol/shown.ts';
import { fileError, makeFolder, openCut, renameFile, writeWhole } from '../system/files.ts';
import { takeLock, type Lock } from '../system/lock.ts';
import type { HubFile } from './files.ts';
import { proxyWayOut } from './proxy.ts';

export interface Download {
  readonly url: string;
  readonly path: string;
  readonly file: HubFile;
  readonly repository: string;
  readonly endpoint: string;
  readonly token: string | null;
  readonly signal?: AbortSignal;
  /** Bytes of this file on disk. */
  readonly onBytes: (bytes: number) => void;
  /** Looks at the part once the first bytes of the file are there: what it throws ends the download, and the part is removed. */
  readonly inspect?: (part: string) => void;
}

/** So much of a file is there when it is looked at: a GGUF file's own settings, ahead of its vocabulary, are the first kilobytes. */
const beginningBytes = 2 ** 16;

// A connection that breaks is taken up again at once, then more slowly; any progress starts the count anew.
const maxAttempts = 5;
const firstPauseMs = 250;
// If a server sends nothing for this time, the connection is closed and opened again.
const stallMs = 60_000;

/**
 * One process or thread at a time downloads a file; others wait, and find it complete. Throws `network` if the server cannot be reached or
 * its data is wrong, `file-system`, `cancelled`. The part stays for the next attempt.
 */
export async function downloadFile(download: Download): Promise<void> {
  const { path, repository, endpoint, signal } = download;
  const file = `${path}.lock`;
  for (;;) {
    const lock = lockPart(file);
    if (lock !== null) {
      try {
        if (!existsSync(path)) await downloadAlone(download);
        return;
      } finally {
        lock.release();
      }
    }
    download.onBytes(bytesHere(path));
    await wait(otherLoaderMs, undefined, signal && { signal }).catch((cause: unknown) => {
      throw hubError(cause, repository, endpoint, signal);
    });
  }
}

const otherLoaderMs = 200;

function lockPart(file: string): Lock | null {
  try {
    makeFolder(dirname(file));
    const lock = takeLock(file);
    return 'heldBy' in lock ? null : lock;
  } catch (error) {
    throw fileError(error, 'write', file);
  }
}

async function downloadAlone(download: Download): Promise<void> {
  const { path, file, repository, endpoint, signal } = download;
  const partial = partOf(path);
  let failures = 0;
  // Left by another version of the file, if it is too long.
  if (sizeOf(partial) > file.size) rmSync(partial, { force: true });
  let before = sizeOf(partial);
  while (sizeOf(partial) !== file.size || !existsSync(partial)) {
    try {
      await transfer(download, partial);
    } catch (error) {
      // Whatever was found wrong with its beginning: another attempt would find the same.
      if (error instanceof UserError && error.code !== 'file-system') rmSync(partial, { force: true });
      if (error instanceof UserError || signal?.aborted || isFinal(error))
        throw hubError(error, repository, endpoint, signal);
      failures = sizeOf(partial) > before ? 1 : failures + 1;
      before = sizeOf(partial);
      if (failures >= maxAttempts) throw hubError(error, repository, endpoint, signal);
      await wait(firstPauseMs * 2 ** (failures - 1), undefined, signal && { signal }).catch((cause: unknown) => {
        throw hubError(cause, repository, endpoint, signal);
      });
    }
  }
  if (!(await matches(partial, file))) {
    rmSync(partial, { force: true });
    throw userError(
      'network',
      `${file.path} of ${repository} arrived damaged: its checksum is not the hub's.`,
      'Run the command again; if it happens again, look for a proxy that changes downloads.',
    );
  }
  try {
    renameFile(partial, path);
  } catch (error) {
    throw fileError(error, 'write', path);
  }
}

/** One connection, from the end of the part on. Returns when the server has sent everything. */
async function transfer({ url, file, token, signal, onBytes, inspect }: Download, partial: string): Promise<void> {
  const controller = new AbortController();
  const abort = (): void => controller.abort(signal?.reason);
  signal?.addEventListener('abort', abort);
  if (signal?.aborted) abort();
  let timer = setTimeout(abort, stallMs);
  let descriptor: number | null = null;
  try {
    const have = sizeOf(partial);
    const response = await fetch(url, {
      signal: controller.signal,
      headers: {
        ...(have > 0 && { Range: `bytes=${have}-` }),
        ...(token !== null && { Authorization: `Bearer ${token}` }),
        // A packed answer has other ranges than the file.
        'Accept-Encoding': 'identity',
      },
    });
    if (!response.ok || response.body === null) throw new HttpError(response.status, url);
    const from = response.status === 206 ? rangeStart(response) : 0;
    checkLength(response, file.size - from, url);
    descriptor = openPartial(partial, from, have);
    let size = from;
    let isInspected = inspect === undefined;
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      clearTimeout(timer);
      timer = setTimeout(abort, stallMs);
      size += chunk.length;
      if (size > file.size) throw new Error(`${url} sends more than the ${file.size} bytes it announced`);
      try {
        writeWhole(descriptor, chunk);
      } catch (error) {
        throw fileError(error, 'write', partial);
      }
      onBytes(size);
      if (!isInspected && size >= Math.min(beginningBytes, file.size)) {
        isInspected = true;
        inspect?.(partial);
      }
    }
    fsyncSync(descriptor);
    if (size < file.size) throw new Error(`the connection closed after ${size} of ${file.size} bytes`);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
    if (descriptor !== null) closeSync(descriptor);
  }
}

/** Opens the part for writing at `from`: at its end, or earlier if the server does not resume. */
function openPartial(partial: string, from: number, have: number): number {
  if (from > have) throw new Error(`the server resumed at byte ${from} instead of ${have}`);
  try {
    makeFolder(dirname(partial));
    return openCut(partial, from);
  } catch (error) {
    throw fileError(error, 'write', partial);
  }
}

/** Before anything is cut: what a proxy answers in the hub's place, such as a page to log in, is no beginning of the file. */
function checkLength(response: Response, expected: number, url: string): void {
  const length = Number(response.headers.get('content-length') ?? expected);
  if (length !== expected) throw new Error(`${url} sends ${length} bytes instead of ${expected}`);
}

function rangeStart(response: Response): number {
  const start = /^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '')?.[1];
  if (start === undefined) throw new Error('the server resumed without saying where');
  return Number(start);
}

async function matches(path: string, { size, sha256, blob }: HubFile): Promise<boolean> {
  if (sha256 === null && blob === null) return true;
  const hash = createHash(sha256 === null ? 'sha1' : 'sha256');
  // How git names a file's content.
  if (sha256 === null) hash.update(`blob ${size}\0`);
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest('hex') === (sha256 ?? blob);
}

const partOf = (path: string): string => `${path}.partial`;

/** The size of what an earlier attempt left of a file that has no name of its own yet. */
export const bytesHere = (path: string): number => sizeOf(partOf(path));

const sizeOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

/** Asking again does not help; 408 and 429 only ask for patience. */
const isFinal = (error: unknown): boolean =>
  error instanceof HttpError &&
  error.statusCode >= 400 &&
  error.statusCode < 500 &&
  error.statusCode !== 408 &&
  error.statusCode !== 429;

class HttpError extends Error {
  readonly statusCode: number;

  constructor(statusCode: number, url: string) {
    super(`${url} answers with status ${statusCode}`);
    this.statusCode = statusCode;
  }
}

/** What went wrong with the hub, as the user's error. */
export function hubError(error: unknown, repository: string, endpoint: string, signal?: AbortSignal): Error {
  if (error instanceof UserError) return error;
  if (signal?.aborted)
    return userError('cancelled', `The download of ${repository} was stopped; the next download continues it.`);
  const status = error instanceof Error && 'statusCode' in error ? error.statusCode : null;
  if (status === 401 || status === 403)
    return userError(
      'network',
      `${endpoint} does not give ${repository} to you: it does not exist, is private, or its terms are not accepted.`,
      'Check the name, accept the terms on its page, and set HF_TOKEN to a token that may read it.',
      error,
    );
  if (status === 404)
    return userError(
      'not-found',
      `There is no model ${repository}, neither on this machine nor at ${endpoint}.`,
      'Check the path or the hub id (owner/name, with @revision if it is not the main one).',
      error,
    );
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return userError(
    'network',
    `Cannot download ${repository} from ${endpoint}: ${shown(cause instanceof Error ? cause.message : String(cause), { limit: 300 })}.`,
    proxyWayOut() ??
      'Check the connection and run the command again: it continues the download. Local folders and GGUF files need no network.',
    error,
  );
}
