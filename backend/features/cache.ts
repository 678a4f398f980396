/**
 * Hidden states kept on disk after the first pass over the data, so that later epochs and other exits skip the backbone. Knows windows by
 * index and cuts by name, nothing of models or tuning.
 *
 * A cache is a folder: `<cut>.bin` has one record per window (a checksum, a scale, halves), `index.log` a line for each batch whose records
 * are written. A record counts only if its line is complete and its checksum is right, so a killed writer leaves a smaller cache, never a
 * wrong one. A process that uses the cache has the lock `<id>.lock` in it, so that no other process removes it.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { makeFolder, openForWriting } from '../system/files.ts';
import { isHeld, takeLock, type Lock } from '../system/lock.ts';
import { createHash, randomUUID } from 'node:crypto';
import { decodeHalf, encodeHalf } from './cache-half.ts';

export interface FeatureCacheKey {
  /** SHA-256 of the backbone's weights, and whatever else changes its numbers (configuration, device, precision). */
  readonly backbone: string;
  /** Hash of the windows' tokens, in order. */
  readonly data: string;
  /** Tokens of a window. */
  readonly tokens: number;
}

export interface FeatureCacheOptions {
  /** Folder of all caches; made if absent. */
  readonly root: string;
  readonly key: FeatureCacheKey;
  /** Bytes that all caches under `root` may take together. */
  readonly limit?: number;
}

/** The states of one window by cut name, `[tokens, width]` each. */
export type WindowStates = ReadonlyMap<string, Float32Array>;

export interface FeatureCache {
  readonly directory: string;
  has(window: number, cut: string): boolean;
  /** The state `[tokens, width]`, or null if it is absent or damaged. */
  read(window: number, cut: string, width: number): Float32Array | null;
  /**
   * Keeps the states of a batch, all or none of it, and rounds them in place to what `read` returns, so that the first epoch and later ones
   * see the same numbers. Rounds even if there is no room.
   */
  write(states: ReadonlyMap<number, WindowStates>): void;
  /** Why no more is kept, as a sentence; null while all is well. */
  full(): string | null;
  close(): void;
}

const headerBytes = 8;
const defaultLimit = 8 * 2 ** 30;
/** Room left to the user's disk. */
const reserve = 2 ** 30;

/** Whether a file was removed; one that can no longer be asked for, as on a drive that is gone, counts as removed. */
function isGone(file: number): boolean {
  try {
    return fs.fstatSync(file).nlink === 0;
  } catch {
    return true;
  }
}

/** Opens or makes the cache of a key; older caches under the same root are removed if room is needed. */
export function openFeatureCache(options: FeatureCacheOptions): FeatureCache {
  const { key, root, limit = defaultLimit } = options;
  const name = createHash('sha256').update(JSON.stringify(key)).digest('hex').slice(0, 24);
  const directory = path.join(root, name);
  const files = new Map<string, number>();
  const kept = new Map<string, Set<number>>();
  let trouble: string | null = null;
  let log: number | null = null;
  let room = 0;
  let lock: Lock | null = null;

  try {
    makeFolder(root);
    const file = path.join(directory, 'index.log');
    // One process at a time locks a cache, or searches for caches to remove.
    const opening = takeRoot(root);
    try {
      makeFolder(directory);
      lock = lockIn(directory);
      room = roomFor(root, name, limit);
    } finally {
      opening.release();
    }
    readLog(file, kept);
    log = openForWriting(file, 'a');
    // A line that a killed writer left unfinished must not swallow the next one.
    fs.writeSync(log, '\n');
    fs.utimesSync(directory, new Date(), new Date());
  } catch (error) {
    trouble = `Hidden states are not saved in ${directory}: ${reason(error)}.`;
  }

  const fileOf = (cut: string): number => {
    let descriptor = files.get(cut);
    if (descriptor === undefined) {
      descriptor = openForWriting(path.join(directory, `${cut}.bin`), 'r+');
      files.set(cut, descriptor);
    }
    return descriptor;
  };
  const has = (window: number, cut: string): boolean => kept.get(cut)?.has(window) ?? false;

  return {
    directory,
    has,
    full: () => trouble,
    read(window, cut, width) {
      if (!has(window, cut)) return null;
      const count = key.tokens * width;
      const record = new Uint8Array(recordBytes(count));
      try {
        const got = fs.readSync(fileOf(cut), record, 0, record.length, window * record.length);
        const values = got === record.length ? unpack(record, count) : null;
        if (values) return values;
      } catch {
        // Unreadable is the same as absent: the backbone gives the states again.
      }
      kept.get(cut)!.delete(window);
      return null;
    },
    write(states) {
      const lines: [number, string[]][] = [];
      if (trouble === null && log !== null && isGone(log))
        trouble = `Hidden states are no longer saved: ${directory} was removed.`;
      for (const [window, values] of states) {
        const cuts: string[] = [];
        for (const [cut, value] of values) {
          const record = pack(value);
          unpackInto(record, value);
          if (trouble !== null || log === null) continue;
          // States that exist are written again: a later reader must see what this batch saw.
          const growth = has(window, cut) ? 0 : record.length;
          if (growth > room) {
            trouble = `Hidden states are no longer saved: the cache in ${root} has no room left.`;
            continue;
          }
          try {
            writeWhole(fileOf(cut), record, window * record.length);
          } catch (error) {
            trouble = `Hidden states are no longer saved in ${directory}: ${reason(error)}.`;
            continue;
          }
          room -= growth;
          cuts.push(cut);
        }
        if (cuts.length > 0) lines.push([window, cuts]);
      }
      if (lines.length === 0 || log === null || trouble !== null) return;
      try {
        fs.writeSync(log, `${JSON.stringify(lines)}\n`);
      } catch (error) {
        trouble = `Hidden states are no longer saved in ${directory}: ${reason(error)}.`;
        return;
      }
      for (const [window, cuts] of lines) for (const cut of cuts) mark(kept, cut, window);
    },
    close() {
      for (const descriptor of files.values()) fs.closeSync(descriptor);
      files.clear();
      if (log !== null) fs.closeSync(log);
      log = null;
      lock?.release();
      lock = null;
    },
  };
}

/** Milliseconds: opening takes a few, and a process that hangs during it is not waited for. */
const [rootPause, rootPatience] = [20, 10_000];

/** Waits until no other process or thread opens a cache under the root. */
function takeRoot(root: string): Pick<Lock, 'release'> {
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (const began = Date.now(); ;) {
    const lock = takeLock(path.join(root, 'opening.lock'));
    if ('release' in lock) return lock;
    if (Date.now() - began > rootPatience) throw new Error('another process keeps opening a cache');
    Atomics.wait(pause, 0, 0, rootPause);
  }
}

const isLock = (name: string): boolean => name.endsWith('.lock');

/** Locks the cache as in use. Files of killed processes are removed. */
function lockIn(directory: string): Lock {
  for (const name of fs.readdirSync(directory).filter(isLock))
    if (!isHeld(path.join(directory, name))) fs.rmSync(path.join(directory, name), { force: true });
  const lock = takeLock(path.join(directory, `${randomUUID()}.lock`));
  if ('heldBy' in lock) throw new Error('its lock is another process’s');
  return lock;
}

const isInUse = (directory: string): boolean =>
  fs.readdirSync(directory).some((name) => isLock(name) && isHeld(path.join(directory, name)));

const recordBytes = (values: number): number => headerBytes + 2 * (values + (values & 1));

function pack(values: Float32Array): Uint8Array {
  const record = new Uint8Array(recordBytes(values.length));
  const undo = encodeHalf(values, new Uint16Array(record.buffer, headerBytes, values.length));
  const view = new DataView(record.buffer);
  view.setFloat32(4, undo, true);
  view.setUint32(0, checksum(record), true);
  return record;
}

function unpack(record: Uint8Array, count: number): Float32Array | null {
  if (new DataView(record.buffer).getUint32(0, true) !== checksum(record)) return null;
  const values = new Float32Array(count);
  unpackInto(record, values);
  return values;
}

function unpackInto(record: Uint8Array, values: Float32Array): void {
  const undo = new DataView(record.buffer).getFloat32(4, true);
  decodeHalf(new Uint16Array(record.buffer, headerBytes, values.length), undo, values);
}

/** FNV-1a over 32-bit words, all but the first, which holds it. */
function checksum(record: Uint8Array): number {
  const words = new Uint32Array(record.buffer, 0, record.length / 4);
  let hash = 0x811c9dc5;
  for (let i = 1; i < words.length; i++) hash = Math.imul(hash ^ words[i]!, 0x01000193);
  return hash >>> 0;
}

function writeWhole(file: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length;) {
    done += fs.writeSync(file, bytes, done, bytes.length - done, position + done);
  }
}

function mark(kept: Map<string, Set<number>>, cut: string, window: number): void {
  const windows = kept.get(cut);
  if (windows) windows.add(window);
  else kept.set(cut, new Set([window]));
}

function readLog(file: string, kept: Map<string, Set<number>>): void {
  if (!fs.existsSync(file)) return;
  for (const line of fs.readFileSync(file, 'utf8').split('\n')) {
    let entries: unknown;
    try {
      entries = JSON.parse(line);
    } catch {
      continue; // cut short by a kill
    }
    if (!Array.isArray(entries)) continue;
    for (const [window, cuts] of entries as [number, string[]][]) {
      if (Number.isInteger(window) && window >= 0 && Array.isArray(cuts)) {
        for (const cut of cuts) mark(kept, cut, window);
      }
    }
  }
}

/**
 * Bytes this cache may still grow by; removes the longest unused of the others until half of the limit is its own, what it has
 * taken already included.
 */
function roomFor(root: string, own: string, limit: number): number {
  const caches = fs
    .readdirSync(root, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && fs.existsSync(path.join(root, entry.name, 'index.log')))
    .map((entry) => {
      const directory = path.join(root, entry.name);
      return { name: entry.name, directory, bytes: sizeOf(directory), used: fs.statSync(directory).mtimeMs };
    })
    .sort((a, b) => a.used - b.used);
  const { bavail, bsize } = fs.statfsSync(root);
  let free = bavail * bsize - reserve;
  const taken = sizeOf(path.join(root, own));
  const others = caches.filter(({ name }) => name !== own);
  let room = limit - taken - others.reduce((sum, { bytes }) => sum + bytes, 0);
  for (const cache of others) {
    if (Math.min(room, free) + taken >= limit / 2) break;
    if (isInUse(cache.directory)) continue;
    fs.rmSync(cache.directory, { recursive: true, force: true });
    room += cache.bytes;
    free += cache.bytes;
  }
  return Math.max(0, Math.min(room, free));
}

/** Bytes really taken: the files have holes. */
function sizeOf(directory: string): number {
  let bytes = 0;
  for (const name of fs.readdirSync(directory)) {
    const { size, blocks } = fs.statSync(path.join(directory, name));
    // Windows reports no blocks.
    bytes += blocks === undefined || blocks === 0 ? size : Math.min(size, blocks * 512);
  }
  return bytes;
}

function reason(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ENOSPC' || code === 'EDQUOT') return 'the disk is full';
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') return 'the folder cannot be written';
  return error instanceof Error ? error.message : String(error);
}
