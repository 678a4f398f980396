/**
 * Tokens on disk and windows of them by number, so that memory does not grow with the data. Knows neither text nor model.
 *
 * Window w covers the stream from its start on; windows follow each other with one token in common, so that each token is the
 * target of exactly one position. File: a header of 64 bytes, one u32 a token (id, highest bit: it may be a target), one
 * u32 a window (its number in the stream, those without targets left out).
 */
import { closeSync, fsyncSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { userError } from '../../../protocol/errors.ts';
import { fileError, makeFolder, openForWriting, openRangeFile, renameFile, writeWhole } from '../../system/files.ts';
import { removeLeftovers, temporaryName } from '../../system/leftovers.ts';

/** `ids` and `targets` are `[windowLength]`; a target is the next token, −1 if there is none. */
export interface TokenWindow {
  readonly ids: Int32Array;
  readonly targets: Int32Array;
}

export interface TokenSet {
  readonly file: string;
  readonly windowLength: number;
  /** Windows with at least one target. */
  readonly windows: number;
  readonly documents: number;
  /** Tokens of the documents, without padding. */
  readonly tokens: number;
  /** Positions that have a target, over all windows. */
  readonly targets: number;
  read(window: number): TokenWindow;
  close(): void;
}

export interface TokenWriter {
  /** Appends a document. `isTarget` defaults to all; `together` puts it at the start of a window if it would not fit otherwise. */
  append(ids: readonly number[], options: { isTarget?: readonly boolean[]; together?: boolean }): void;
  /** Syncs, renames and opens. */
  finish(): TokenSet;
  /** Removes what was written. */
  abandon(): void;
}

/** Opens a token file. Throws `bad-data` if it is none, or damaged. */
export function openTokenFile(path: string): TokenSet {
  const file = openRangeFile(path);
  try {
    const header = new DataView(file.read(0, Math.min(headerBytes, file.size)).buffer);
    if (header.byteLength < headerBytes || header.getUint32(0) !== magic || header.getUint32(4, true) !== version)
      throw damaged(path);
    const [windowLength, entries, windows, documents, tokens, targets] = fields(header) as Fields;
    if (file.size !== headerBytes + 4 * (entries + windows) || windowLength < 2) throw damaged(path);
    const starts = words(file.read(headerBytes + 4 * entries, 4 * windows));
    // The last window may reach beyond the stream.
    if (starts.some((number) => number * (windowLength - 1) >= entries)) throw damaged(path);
    return {
      file: path,
      windowLength,
      windows,
      documents,
      tokens,
      targets,
      read: (window) => {
        const start = starts[window];
        if (start === undefined) throw new RangeError(`${path} has no window ${window}`);
        const first = start * (windowLength - 1);
        const length = Math.min(windowLength, entries - first);
        return windowOf(words(file.read(headerBytes + 4 * first, 4 * length)), windowLength);
      },
      close: () => file.close(),
    };
  } catch (error) {
    file.close();
    throw error;
  }
}

/** Begins a token file at `path`; nothing is there under that name before `finish`. `padding` is the id of what fills gaps. */
export function createTokenFile(path: string, windowLength: number, padding: number): TokenWriter {
  const temporary = temporaryName(path);
  const stride = windowLength - 1;
  const buffer = new Uint32Array(bufferEntries);
  const starts: number[] = [];
  let descriptor: number | null = null;
  let [used, entries, documents, tokens, targets] = [0, 0, 0, 0, 0];
  const abandon = (): void => {
    if (descriptor !== null) closeSync(descriptor);
    descriptor = null;
    rmSync(temporary, { force: true });
  };
  try {
    makeFolder(dirname(path));
    removeLeftovers(dirname(path));
    descriptor = openForWriting(temporary, 'w');
    writeWhole(descriptor, new Uint8Array(headerBytes));
  } catch (error) {
    if (descriptor !== null) abandon();
    throw fileError(error, 'write', path);
  }
  const open = descriptor;
  const guard = <T>(action: () => T): T => {
    try {
      return action();
    } catch (error) {
      throw fileError(error, 'write', path);
    }
  };
  const flush = (): void => {
    guard(() => writeWhole(open, new Uint8Array(buffer.buffer, 0, 4 * used)));
    used = 0;
  };
  const push = (id: number, isTarget: boolean): void => {
    // The token at a window's start is the target of the window before; at the start of the stream, of none.
    if (isTarget && entries > 0) {
      const window = Math.floor((entries - 1) / stride);
      if (starts.at(-1) !== window) starts.push(window);
      targets += 1;
    }
    buffer[used++] = isTarget ? id + targetBit : id;
    entries += 1;
    if (used === bufferEntries) flush();
  };
  return {
    append: (ids, { isTarget, together = false }) => {
      const place = entries % stride;
      const fits = place === 0 || place + ids.length <= windowLength;
      if (together && !fits) for (let i = place; i < stride; i++) push(padding, false);
      ids.forEach((id, i) => push(id, isTarget?.[i] ?? true));
      documents += 1;
      tokens += ids.length;
    },
    finish: () => {
      try {
        flush();
        guard(() => {
          writeWhole(open, new Uint8Array(Uint32Array.from(starts).buffer));
          writeHeader(open, [windowLength, entries, starts.length, documents, tokens, targets]);
          fsyncSync(open);
          closeSync(open);
          descriptor = null;
          renameFile(temporary, path);
        });
      } catch (error) {
        abandon();
        throw error;
      }
      return openTokenFile(path);
    },
    abandon,
  };
}

const magic = 0x4545544b; // "EETK"
const version = 1;
const headerBytes = 64;
const targetBit = 2 ** 31;
const bufferEntries = 2 ** 16;

type Fields = [number, number, number, number, number, number];

/** Six whole numbers as doubles, from byte 8 on. */
const fields = (header: DataView): number[] => Array.from({ length: 6 }, (_, i) => header.getFloat64(8 + 8 * i, true));

function writeHeader(descriptor: number, values: Fields): void {
  const header = new DataView(new ArrayBuffer(headerBytes));
  header.setUint32(0, magic);
  header.setUint32(4, version, true);
  values.forEach((value, i) => header.setFloat64(8 + 8 * i, value, true));
  writeSync(descriptor, new Uint8Array(header.buffer), 0, headerBytes, 0);
}

const words = (bytes: Uint8Array): Uint32Array => new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);

/** The last window of a stream may be short: it is filled with its last token, which nothing looks at. */
function windowOf(entries: Uint32Array, length: number): TokenWindow {
  const ids = new Int32Array(length).fill((entries.at(-1) ?? 0) & 0x7fffffff);
  const targets = new Int32Array(length).fill(-1);
  for (let i = 0; i < entries.length; i++) {
    ids[i] = entries[i]! & 0x7fffffff;
    if (i > 0 && entries[i]! >= targetBit) targets[i - 1] = ids[i]!;
  }
  return { ids, targets };
}

const damaged = (path: string): Error =>
  userError(
    'bad-data',
    `${path} is no token file of this version, or damaged.`,
    'Delete it; it is made again from the data.',
  );
