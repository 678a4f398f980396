/**
 * Reads files by range, and writes files whole or not at all. Every error of a file leaves here as one sentence that names it. New files
 * can be read only by their owner, because most of them contain the user's text. Knows no format.
 */
import {
  chmodSync,
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
  type Stats,
} from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { UserError, userError } from '../../protocol/errors.ts';
import { temporaryName } from './leftovers.ts';
import { processIsAlive } from './processes.ts';

/** Gives `bytes` bytes of memory that is not cleared. */
export type Allocate = (bytes: number) => Uint8Array;

/** A file open for reading; `size` is its size when it was opened. */
export interface RangeFile {
  readonly path: string;
  readonly size: number;
  /** Reads exactly `length` bytes at `offset`, by default into fresh memory. Throws `bad-weights` if the file ends before. */
  read(offset: number, length: number, allocate?: Allocate): Uint8Array;
  close(): void;
}

/** The usual memory: of its own for each call, all zeros. */
export const freshMemory: Allocate = (bytes) => new Uint8Array(bytes);

/** Opens a regular file. Throws `not-found` or `file-system`. */
export function openRangeFile(path: string): RangeFile {
  const descriptor = openRegular(path);
  const { size } = fstatSync(descriptor);
  let open = true;
  return {
    path,
    size,
    read: (offset, length, allocate = freshMemory) => {
      if (offset < 0 || length < 0 || offset + length > size) throw endOfFile(path, offset + length, size);
      const bytes = allocate(length);
      let done = 0;
      while (done < length) {
        const count = readPiece(descriptor, bytes, done, offset + done, path);
        // The file shrank after it was opened.
        if (count === 0) throw endOfFile(path, offset + length, offset + done);
        done += count;
      }
      return bytes;
    },
    close: () => {
      if (open) closeSync(descriptor);
      open = false;
    },
  };
}

// Opening a named pipe would otherwise wait for a writer, and a terminal become the process's own. Windows has neither flag.
const readingFlags =
  constants.O_RDONLY |
  ((constants.O_NONBLOCK as number | undefined) ?? 0) |
  ((constants.O_NOCTTY as number | undefined) ?? 0);

/**
 * Opens a regular file for reading, and answers its descriptor. Nothing else is opened for long or waited for, wherever it comes from
 * and whenever: a pipe, a device or a folder is refused at once. Throws `not-found` or `file-system`.
 */
export function openRegular(path: string): number {
  let descriptor: number | null = null;
  try {
    // Checks a file before it is opened, since opening alone changes some devices; and again after it is opened.
    requireRegular(statSync(path), path);
    descriptor = openSync(path, readingFlags);
    requireRegular(fstatSync(descriptor), path);
    return descriptor;
  } catch (error) {
    if (descriptor !== null) closeSync(descriptor);
    throw fileError(error, 'read', path);
  }
}

/** The same, for threads that answer meanwhile. */
export async function openRegularBeside(path: string): Promise<FileHandle> {
  let handle: FileHandle | null = null;
  try {
    requireRegular(await stat(path), path);
    handle = await open(path, readingFlags);
    requireRegular(await handle.stat(), path);
    return handle;
  } catch (error) {
    await handle?.close();
    throw fileError(error, 'read', path);
  }
}

function requireRegular(stats: Stats, path: string): void {
  if (!stats.isFile()) throw userError('file-system', `${path} is not a regular file.`, 'Name a file.');
}

/** The text of a regular file, without a byte order mark. Throws `not-found` or `file-system`. */
export function readText(path: string): string {
  const descriptor = openRegular(path);
  try {
    return readFileSync(descriptor, 'utf8').replace(/^\uFEFF/, '');
  } catch (error) {
    throw fileError(error, 'read', path);
  } finally {
    closeSync(descriptor);
  }
}

/** The text of a regular file of at most `mostBytes` bytes; null if there is none that can be read. For threads that must not block. */
export async function readTextBeside(path: string, mostBytes = Infinity): Promise<string | null> {
  const handle = await openRegularBeside(path).catch(() => null);
  if (handle === null) return null;
  try {
    return (await handle.stat()).size > mostBytes ? null : await handle.readFile('utf8');
  } catch {
    return null;
  } finally {
    await handle.close();
  }
}

/** What lies at a path; null if nothing does, a part of the path that is a file included. Throws `file-system`. */
export function statOf(path: string): Stats | null {
  try {
    return statSync(path);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : null;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw fileError(error, 'read', path);
  }
}

/** Another text once a file has changed: its path, size, time of change and place on disk. Throws `not-found` or `file-system`. */
export function fileIdentity(path: string): string {
  try {
    const { size, mtimeNs, ino } = statSync(path, { bigint: true });
    return `${resolve(path)} ${size} ${mtimeNs} ${ino}`;
  } catch (error) {
    throw fileError(error, 'read', path);
  }
}

/** What a file of another kind with a weight file's name begins with, as words for a message; null if it is none of them. */
export function foreignKind(start: Uint8Array): string | null {
  const text = Buffer.from(start.subarray(0, 512)).toString('latin1');
  if (start.length === 0) return 'empty';
  if (text.startsWith('PK\x03\x04')) return 'a zip archive (perhaps a PyTorch checkpoint)';
  if (text.startsWith('\x1f\x8b')) return 'a gzip archive';
  if (text.startsWith('\x80\x02') || text.startsWith('\x80\x03') || text.startsWith('\x80\x04'))
    return 'a Python pickle (perhaps a PyTorch checkpoint)';
  if (text.startsWith('version https://git-lfs')) return 'a git-lfs pointer, not the file itself';
  if (/^\s*(<!doctype html|<html|<\?xml)/i.test(text)) return 'a web page (perhaps a failed download)';
  if (text.startsWith('\x89HDF')) return 'an HDF5 file';
  if (text.startsWith('GGUF')) return 'a GGUF file';
  return null;
}

/** The mode of new files: only for their owner, or, for files that a user requested, as the user's umask allows. */
export type Access = 'owner' | 'umask';

export const modes = { owner: { file: 0o600, folder: 0o700 }, umask: { file: 0o666, folder: 0o777 } } as const;

/** Opens a file, and makes it if it is missing: emptied (`w`), at its end (`a`), or as it is (`r+`). Throws the system's error. */
export function openForWriting(path: string, how: 'w' | 'a' | 'r+', access: Access = 'owner'): number {
  const { O_CREAT, O_TRUNC, O_APPEND, O_WRONLY, O_RDWR } = constants;
  const flags = { w: O_CREAT | O_WRONLY | O_TRUNC, a: O_CREAT | O_WRONLY | O_APPEND, 'r+': O_CREAT | O_RDWR }[how];
  return openSync(path, flags, modes[access].file);
}

/**
 * Opens a file at its end, cut to its first `most` bytes if it is longer. Throws the system's error. Windows cuts no file that was opened
 * to append.
 */
export function openCut(path: string, most: number): number {
  const whole = openForWriting(path, 'r+');
  try {
    if (fstatSync(whole).size > most) ftruncateSync(whole, most);
  } finally {
    closeSync(whole);
  }
  return openForWriting(path, 'a');
}

/** Copies a file; the copy gets a mode of its own. Throws the system's error. */
export function copyFile(from: string, to: string): void {
  copyFileSync(from, to);
  chmodSync(to, modes.owner.file);
}

/**
 * Makes a folder and missing ones above it. Node's own recursive `mkdir` never ends if the system does not allow a new folder in an
 * existing one, as in /proc.
 */
export function makeFolder(path: string, access: Access = 'owner'): void {
  try {
    mkdirSync(path, modes[access].folder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const above = dirname(path);
    if (code === 'ENOENT' && above !== path && !existsSync(above)) {
      makeFolder(above, access);
      makeFolder(path, access);
    } else if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) throw error;
  }
}

/** What a virus scanner or an indexer on Windows causes that has a new file open for a moment. */
const busyCodes: ReadonlySet<unknown> = new Set(['EPERM', 'EACCES', 'EBUSY']);
const firstPauseMs = 10;
const longestPauseMs = 500;

/** `renameSync`; on Windows it is tried for a second where another program has the file open. */
export function renameFile(from: string, to: string): void {
  for (let pause = firstPauseMs; ; pause *= 2) {
    try {
      return renameSync(from, to);
    } catch (error) {
      const isBusy = process.platform === 'win32' && busyCodes.has((error as NodeJS.ErrnoException).code);
      if (!isBusy || pause > longestPauseMs) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pause);
    }
  }
}

/**
 * Writes `pieces` to a temporary name beside `path`, syncs and renames, so that `path` is the old file or the whole new
 * one at any moment. Throws `file-system` (full disk, read-only folder …) and leaves nothing behind.
 */
export function writeFileAtomically(
  path: string,
  pieces: Iterable<Uint8Array | string>,
  access: Access = 'owner',
): void {
  const directory = dirname(path);
  const temporary = temporaryName(join(directory, `.${basename(path)}`));
  let descriptor: number | null = null;
  let created = false;
  try {
    makeFolder(directory, access);
    sweepTemporaries(directory, basename(path));
    descriptor = openForWriting(temporary, 'w', access);
    created = true;
    for (const piece of pieces) writeWhole(descriptor, typeof piece === 'string' ? Buffer.from(piece) : piece);
    fsyncSync(descriptor);
    closeSync(descriptor);
    descriptor = null;
    renameFile(temporary, path);
    syncDirectory(directory);
  } catch (error) {
    if (descriptor !== null) closeSync(descriptor);
    if (created) rmSync(temporary, { force: true });
    throw error instanceof UserError ? error : fileError(error, 'write', path);
  }
}

/** Removes what writers of `name` left that were killed, those in Python included: they name only their process. */
function sweepTemporaries(directory: string, name: string): void {
  for (const found of readdirSync(directory)) {
    if (!found.startsWith(`.${name}.`)) continue;
    const pid = /^(\d+)(?:\.[\da-f-]{36})?\.tmp$/.exec(found.slice(name.length + 2))?.[1];
    if (pid !== undefined && !processIsAlive(Number(pid))) rmSync(join(directory, found), { force: true });
  }
}

/** Writes all of `bytes` at the descriptor's position; a short write (a nearly full disk) is continued until it fails. */
export function writeWhole(descriptor: number, bytes: Uint8Array): void {
  let done = 0;
  while (done < bytes.length)
    done += writeSync(descriptor, bytes, done, Math.min(bytes.length - done, mostBytesAtOnce));
}

/** A system error as a sentence about `path`; errors that are not the user's are returned as they are. */
export function fileError(error: unknown, action: 'read' | 'write', path: string): Error {
  if (error instanceof UserError) return error;
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const known = fileSentences[code];
  if (known !== undefined) return userError(known.code, `Cannot ${action} ${path}: ${known.why}.`, known.wayOut, error);
  return error instanceof Error ? error : new Error(String(error));
}

/** Does the work that writes to `path`. Throws `not-found` or `file-system` for a system error. */
export function writing<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw fileError(error, 'write', path);
  }
}

const fileSentences: Record<string, { code: 'not-found' | 'file-system'; why: string; wayOut: string } | undefined> = {
  ENOENT: { code: 'not-found', why: 'it does not exist', wayOut: 'Check the path.' },
  ENOTDIR: { code: 'not-found', why: 'a part of the path is not a folder', wayOut: 'Check the path.' },
  EEXIST: { code: 'file-system', why: 'a file is in the place of a folder', wayOut: 'Choose another place.' },
  EISDIR: { code: 'file-system', why: 'it is a folder', wayOut: 'Name a file.' },
  EACCES: {
    code: 'file-system',
    why: 'permission is denied',
    wayOut: 'Change its permissions or choose another place.',
  },
  EPERM: { code: 'file-system', why: 'it is not permitted', wayOut: 'Change its permissions or choose another place.' },
  EROFS: { code: 'file-system', why: 'the file system is read-only', wayOut: 'Choose another place.' },
  ENOSPC: { code: 'file-system', why: 'the disk is full', wayOut: 'Free some space or choose another place.' },
  EDQUOT: { code: 'file-system', why: 'the disk quota is used up', wayOut: 'Free some space or choose another place.' },
  EFBIG: { code: 'file-system', why: 'the file would be too large for this disk', wayOut: 'Choose another place.' },
  EMFILE: { code: 'file-system', why: 'too many files are open', wayOut: 'Raise the limit (ulimit -n).' },
  ENAMETOOLONG: { code: 'file-system', why: 'the name is too long', wayOut: 'Choose a shorter name.' },
  ELOOP: { code: 'file-system', why: 'it is a link that leads in a circle', wayOut: 'Check the path.' },
  EIO: { code: 'file-system', why: 'the device reports an error', wayOut: 'Check the disk.' },
};

const endOfFile = (path: string, wanted: number, size: number): UserError =>
  userError(
    'bad-weights',
    `${path} is truncated: byte ${wanted} is needed, the file ends at ${size}.`,
    'Get the file again.',
  );

// One call reads or writes at most 2^31 − 1 bytes.
const mostBytesAtOnce = 2 ** 30;

function readPiece(descriptor: number, into: Uint8Array, start: number, position: number, path: string): number {
  try {
    return readSync(descriptor, into, start, Math.min(into.length - start, mostBytesAtOnce), position);
  } catch (error) {
    throw fileError(error, 'read', path);
  }
}

function syncDirectory(directory: string): void {
  // Windows cannot open a folder, and some network disks refuse to sync one; the rename itself has succeeded.
  try {
    const descriptor = openSync(directory, 'r');
    try {
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  } catch {
    return;
  }
}
