/** What a folder's settings can do only if the folder is trusted. Knows no `vscode`. */
import type { Option } from '../../protocol/options/kinds.ts';
import { serverOptions } from '../../protocol/options/groups.ts';

/**
 * Settings that a folder cannot set unless it is trusted: they name files to load or programs to run, or give other programs access to this
 * machine.
 */
export const restrictedSettings: readonly string[] = [
  'earlyExit.model',
  'earlyExit.decoding.exits',
  'earlyExit.tuning.data',
  'earlyExit.tuning.on',
  'earlyExit.backend.nodePath',
  ...Object.entries(serverOptions as Record<string, Option<unknown>>)
    .filter(([, { scope }]) => scope !== null)
    .map(([name]) => `earlyExit.server.${name}`),
];
