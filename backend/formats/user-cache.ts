/** The user's cache folder of this program: downloads, hashes and what doctor builds. */
import { homedir } from 'node:os';
import { join } from 'node:path';

/** `EARLY_EXIT_CACHE`, else the platform's cache folder with our name in it. May not exist yet. */
export function userCache(environment: Readonly<Record<string, string | undefined>> = process.env): string {
  const named = environment['EARLY_EXIT_CACHE'];
  if (named) return named;
  const home = homedir();
  if (process.platform === 'win32')
    return join(environment['LOCALAPPDATA'] ?? join(home, 'AppData', 'Local'), 'early-exit');
  if (process.platform === 'darwin') return join(home, 'Library', 'Caches', 'early-exit');
  return join(environment['XDG_CACHE_HOME'] ?? join(home, '.cache'), 'early-exit');
}
