/** The user's cache folder of this program: downloads, tokens, hashes and what doctor builds. */
import { readdirSync, rmSync, statSync, utimesSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** Variables by name. An empty one counts as missing. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** `EARLY_EXIT_CACHE`, else the platform's cache folder with our name in it. May not exist yet. */
export const userCache = (environment: Environment = process.env): string =>
  environment['EARLY_EXIT_CACHE'] || join(platformCaches(environment, homedir(), process.platform), 'early-exit');

/** The folder in which programs of a platform keep their caches. */
export function platformCaches(environment: Environment, home: string, platform: NodeJS.Platform): string {
  if (platform === 'win32') return environment['LOCALAPPDATA'] || join(home, 'AppData', 'Local');
  if (platform === 'darwin') return join(home, 'Library', 'Caches');
  return xdgCaches(environment, home);
}

/** The same on Linux. Some programs use it on every platform. */
export const xdgCaches = (environment: Environment, home: string): string =>
  environment['XDG_CACHE_HOME'] || join(home, '.cache');

/**
 * Removes files of a folder with this ending, those used longest ago first, until all take at most `mostBytes`; `spared` paths stay. A cache
 * that cannot be cleared costs room, nothing else.
 */
export function keepNewest(folder: string, ending: string, mostBytes: number, spared: readonly string[] = []): void {
  try {
    const files = readdirSync(folder)
      .filter((name) => name.endsWith(ending))
      .map((name) => ({ path: join(folder, name), ...statSync(join(folder, name)) }))
      .sort((a, b) => b.mtimeMs - a.mtimeMs);
    let bytes = 0;
    for (const { path, size } of files)
      if ((bytes += size) > mostBytes && !spared.includes(path)) rmSync(path, { force: true });
  } catch {
    return;
  }
}

/** Says that a file is used now, for `keepNewest`. */
export function markUsed(file: string): void {
  try {
    utimesSync(file, new Date(), new Date());
  } catch {
    return;
  }
}
