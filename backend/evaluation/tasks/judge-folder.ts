/** The temporary folders of judges. A name contains the process that made it, so that folders of killed processes are found and removed. */
import { lstatSync, mkdtempSync, readdirSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileError } from '../../system/files.ts';
import { processIsAlive } from '../../system/processes.ts';

const prefix = 'early-exit-judge-';

/** Its path leads through no link: Node's permissions are asked for the real one. @throws UserError if it cannot be written. */
export function newFolder(): string {
  const parent = tmpdir();
  try {
    return realpathSync(mkdtempSync(join(parent, `${prefix}${process.pid}-`)));
  } catch (error) {
    throw fileError(error, 'write', parent);
  }
}

/** A folder that the system still holds, as Windows may, is left to it: what was judged is known. */
export function removeFolder(folder: string): void {
  try {
    rmSync(folder, { recursive: true, force: true });
  } catch {
    // See above.
  }
}

/** Removes this user's folders of processes that have ended. The temporary folder may be shared: names of others are left alone. */
export function removeLeftovers(): void {
  for (const name of namesIn(tmpdir())) {
    const [, pid] = /^(\d+)-\w+$/.exec(name.startsWith(prefix) ? name.slice(prefix.length) : '') ?? [];
    const folder = join(tmpdir(), name);
    if (pid !== undefined && !processIsAlive(Number(pid)) && isOwnFolder(folder)) removeFolder(folder);
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    // Whether it can be used shows when a folder is made there.
    return [];
  }
}

function isOwnFolder(path: string): boolean {
  const found = lstatSync(path, { throwIfNoEntry: false });
  return found !== undefined && found.isDirectory() && (process.getuid === undefined || found.uid === process.getuid());
}
