/** A zip archive as a stream of bytes, its files stored as they are: what is packed here does not get smaller. Below 4 GiB. */
import { closeSync, readSync } from 'node:fs';
import { crc32 } from './crc.ts';
import { fileError, openRegular } from '../system/files.ts';

export interface ZipEntry {
  /** With slashes. */
  readonly name: string;
  readonly content: { readonly file: string } | { readonly bytes: Uint8Array };
}

const chunkBytes = 2 ** 22;
/** Names in UTF-8, and sizes behind the data: they are known once it has been read. */
const flags = 0x0808;
/** 1 January 1980: the same files give the same archive. */
const date = 0x21;

/** @throws UserError if a file cannot be read. */
export function* zip(entries: Iterable<ZipEntry>): Generator<Buffer> {
  const directory: Buffer[] = [];
  let offset = 0;
  for (const { name, content } of entries) {
    const path = Buffer.from(name);
    const start = offset;
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    commonFields(local.subarray(4), 0, 0, path.length);
    yield Buffer.concat([local, path]);
    let [crc, size] = [0, 0];
    for (const chunk of 'file' in content ? chunksOf(content.file) : [Buffer.from(content.bytes)]) {
      crc = crc32(chunk, crc);
      size += chunk.length;
      yield chunk;
    }
    const behind = Buffer.alloc(16);
    [0x08074b50, crc, size, size].forEach((value, i) => behind.writeUInt32LE(value, 4 * i));
    yield behind;
    offset += local.length + path.length + size + behind.length;
    const central = Buffer.alloc(46);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt16LE(20, 4);
    commonFields(central.subarray(6), crc, size, path.length);
    central.writeUInt32LE(start, 42);
    directory.push(central, path);
  }
  const listed = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(directory.length / 2, 8);
  end.writeUInt16LE(directory.length / 2, 10);
  end.writeUInt32LE(listed.length, 12);
  end.writeUInt32LE(offset, 16);
  yield Buffer.concat([listed, end]);
}

/** What the header before a file and the one in the directory have in common. */
function commonFields(at: Buffer, crc: number, size: number, nameLength: number): void {
  at.writeUInt16LE(20, 0);
  at.writeUInt16LE(flags, 2);
  at.writeUInt16LE(date, 8);
  at.writeUInt32LE(crc, 10);
  at.writeUInt32LE(size, 14);
  at.writeUInt32LE(size, 18);
  at.writeUInt16LE(nameLength, 22);
}

function* chunksOf(file: string): Generator<Buffer> {
  let descriptor: number | null = null;
  try {
    descriptor = openRegular(file);
    for (;;) {
      const chunk = Buffer.allocUnsafe(chunkBytes);
      const count = readSync(descriptor, chunk, 0, chunkBytes, null);
      if (count === 0) return;
      yield chunk.subarray(0, count);
    }
  } catch (error) {
    throw fileError(error, 'read', file);
  } finally {
    if (descriptor !== null) closeSync(descriptor);
  }
}
