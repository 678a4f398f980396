/**
 * Finds programs by name, and how they are started: from absolute folders of PATH, never from the working directory, because a folder that
 * is only inspected may contain a `node.exe` or a `venv.py` of its own. Knows no file system: the caller passes what exists.
 */

export interface Machine {
  /** As `process.platform`. */
  readonly platform: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Whether a path is a file that can be started. */
  readonly isProgram: (path: string) => boolean;
}

/**
 * The absolute path of a program. A name is looked up in PATH, except for entries that depend on the working directory; an absolute path is
 * returned as it is. On Windows only `.exe`: a `.cmd` is a program for a shell. Null if there is none, and for a relative path.
 */
export function findProgram(name: string, { platform, environment, isProgram }: Machine): string | null {
  const windows = platform === 'win32';
  if (isAbsolute(name, windows)) return isProgram(name) ? name : null;
  if (/[/\\]/.test(name) || name === '') return null;
  const file = windows && !name.toLowerCase().endsWith('.exe') ? `${name}.exe` : name;
  const separator = windows ? '\\' : '/';
  const candidates = folders(environment, windows).map(
    (folder) => `${folder.replace(/[/\\]$/, '')}${separator}${file}`,
  );
  return candidates.find(isProgram) ?? null;
}

/** Added to the environment of every program that is started: on Windows its own children must not search the working directory either. */
export const childEnvironment = (platform: string): Record<string, string> =>
  platform === 'win32' ? { NoDefaultCurrentDirectoryInExePath: '1' } : {};

/** The absolute entries of PATH; an empty one means the working directory. */
function folders(environment: Machine['environment'], windows: boolean): string[] {
  // On Windows the name of the variable may have any case.
  const key = windows ? Object.keys(environment).find((name) => name.toUpperCase() === 'PATH') : 'PATH';
  const entries = (environment[key ?? 'PATH'] ?? '').split(windows ? ';' : ':');
  return entries
    .map((entry) => (windows ? entry.replaceAll('"', '') : entry))
    .filter((entry) => isAbsolute(entry, windows));
}

/** On Windows `\x` and `C:x` depend on the current drive or folder. */
const isAbsolute = (path: string, windows: boolean): boolean =>
  windows ? /^([A-Za-z]:[\\/]|\\\\[^\\])/.test(path) : path.startsWith('/');
