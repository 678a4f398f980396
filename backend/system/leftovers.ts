/** Temporary names that contain their process, so that files of killed processes are found and removed. */
import { randomUUID } from 'node:crypto';
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { processIsAlive } from './processes.ts';

/** A name beside `path` that no other process or thread takes. */
export const temporaryName = (path: string): string => `${path}.${process.pid}.${randomUUID()}.tmp`;

/** Removes the files and folders in `folder` that `temporaryName` named for a process that has ended. */
export function removeLeftovers(folder: string): void {
  for (const name of readdirSync(folder)) {
    const pid = /\.(\d+)\.[\da-f-]{36}\.tmp$/.exec(name)?.[1];
    if (pid !== undefined && !processIsAlive(Number(pid))) rmSync(join(folder, name), { recursive: true, force: true });
  }
}
