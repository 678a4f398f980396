/** Reads folders that other programs write: names, sizes and small JSON files, within limits; null for anything that cannot be read. */
import type { Dirent } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { isRecord } from '../../protocol/foreign.ts';
import { readTextBeside } from '../system/files.ts';

/** A folder with more entries is no cache, but a disk. */
const mostEntries = 2_000;
const mostJsonBytes = 2 ** 20;

export async function entriesOf(directory: string): Promise<Dirent[]> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
  return entries.slice(0, mostEntries);
}

/** Files, links and whatever else is no folder. */
export async function filesBelow(directory: string, depth: number): Promise<string[]> {
  const found: string[] = [];
  for (const entry of await entriesOf(directory)) {
    const place = path.join(directory, entry.name);
    if (entry.isDirectory()) {
      if (depth > 1) found.push(...(await filesBelow(place, depth - 1)));
    } else found.push(place);
    if (found.length > mostEntries) break;
  }
  return found;
}

/** Bytes of a regular file; null for anything else. */
export const sizeOf = async (file: string): Promise<number | null> =>
  stat(file).then(
    (found) => (found.isFile() ? found.size : null),
    () => null,
  );

export const sumOf = (sizes: readonly (number | null)[]): number =>
  sizes.reduce((sum: number, size) => sum + (size ?? 0), 0);

/** Null for what is long, or no file. */
export const textOf = (file: string): Promise<string | null> => readTextBeside(file, mostJsonBytes);

export async function jsonOf(file: string): Promise<Record<string, unknown> | null> {
  const content = await textOf(file);
  try {
    const value: unknown = content === null ? null : JSON.parse(content);
    return isRecord(value) ? value : null;
  } catch {
    return null;
  }
}
