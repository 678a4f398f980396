/** Small file systems of one's own, which only root may have on Linux. */
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';

export interface Mount {
  /** Makes it as large as asked, or read-only. */
  again(options: string): void;
  unmount(): void;
}

/** An empty file system in memory at `folder`; null if that cannot be had. */
export function mountMemory(folder: string, options: string): Mount | null {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return null;
  mkdirSync(folder, { recursive: true });
  const run = (...words: string[]): boolean => spawnSync(words[0]!, words.slice(1), { stdio: 'ignore' }).status === 0;
  if (!run('mount', '-t', 'tmpfs', '-o', options, 'trial', folder)) return null;
  return {
    again: (changed) => {
      if (!run('mount', '-o', `remount,${changed}`, folder)) throw new Error(`${folder} cannot be mounted again`);
    },
    unmount: () => void run('umount', '-l', folder),
  };
}

export const noMount = 'only root on Linux may mount a file system of its own';
