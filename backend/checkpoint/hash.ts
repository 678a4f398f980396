/** SHA-256 of a model's weights, remembered in the user's cache by path, size and time of change; and of other files, piece by piece. */
import { createHash, type Hash } from 'node:crypto';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { fileError, fileIdentity, openRegular, writeFileAtomically } from '../system/files.ts';

export interface HashOptions {
  /** Folder in which hashes are remembered; null remembers none. */
  readonly cache: string | null;
  readonly signal?: AbortSignal;
  /** Bytes hashed and bytes in all. */
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Of one file: its SHA-256. Of several: the SHA-256 of the lines that `sha256sum` prints for them, by name in order.
 * @throws UserError if a file cannot be read, and the signal's reason if it was aborted.
 */
export async function hashWeights(files: readonly string[], options: HashOptions): Promise<string> {
  const sizes = files.map((file) => sizeOf(file));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  let before = 0;
  const hashes: string[] = [];
  for (const [i, file] of files.entries()) {
    hashes.push(await hashFile(file, { ...options, onProgress: (done) => options.onProgress?.(before + done, total) }));
    before += sizes[i]!;
  }
  if (hashes.length === 1) return hashes[0]!;
  const lines = files.map((file, i) => `${hashes[i]}  ${path.basename(file)}\n`);
  return createHash('sha256')
    .update(lines.sort((a, b) => (a.slice(66) < b.slice(66) ? -1 : 1)).join(''))
    .digest('hex');
}

/**
 * Adds a file to a hash, piece by piece: it may be larger than what can be read at once. `onBytes`: of the number of bytes so far.
 * @throws UserError if it cannot be read, and the signal's reason if it was aborted.
 */
export async function addFile(
  hash: Hash,
  file: string,
  signal?: AbortSignal,
  onBytes?: (done: number) => void,
): Promise<void> {
  let done = 0;
  try {
    for await (const chunk of fs.createReadStream(file, { fd: openRegular(file), highWaterMark: 2 ** 22 })) {
      signal?.throwIfAborted();
      hash.update(chunk as Buffer);
      done += (chunk as Buffer).length;
      onBytes?.(done);
    }
  } catch (error) {
    throw signal?.aborted ? error : fileError(error, 'read', file);
  }
}

async function hashFile(file: string, { cache, signal, onProgress }: HashOptions): Promise<string> {
  const before = fileIdentity(file);
  const remembered = cache === null ? null : path.join(cache, `${hashText(before)}.sha256`);
  const known = remembered === null ? null : readHash(remembered);
  if (known !== null) return known;
  const hash = createHash('sha256');
  await addFile(hash, file, signal, (done) => onProgress?.(done, done));
  const digest = hash.digest('hex');
  if (remembered !== null && fileIdentity(file) === before) remember(remembered, digest);
  return digest;
}

function readHash(file: string): string | null {
  try {
    const text = fs.readFileSync(file, 'utf8').trim();
    return /^[0-9a-f]{64}$/.test(text) ? text : null;
  } catch {
    return null;
  }
}

/** A cache that cannot be written costs time, nothing else. */
function remember(file: string, digest: string): void {
  try {
    writeFileAtomically(file, [`${digest}\n`]);
  } catch {
    return;
  }
}

function sizeOf(file: string): number {
  try {
    return fs.statSync(file).size;
  } catch (error) {
    throw fileError(error, 'read', file);
  }
}

const hashText = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 32);
