/** Writes a file in place of one that may be there. One that is written over waits for the disk, a new one does not. */
import { rmSync, writeFileSync } from 'node:fs';

export function writeAnew(file: string, content: string | Uint8Array): void {
  rmSync(file, { force: true });
  writeFileSync(file, content);
}
