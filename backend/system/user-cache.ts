/** The user's cache folder of this program: downloads, hashes and what doctor builds. */
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
