/** Globs of files on every platform: they have slashes, and a backslash escapes. */
import * as path from 'node:path';

export const slashes = (file: string): string => (path.sep === '\\' ? file.replaceAll('\\', '/') : file);

/** A glob without the backslashes of Windows: one that begins `C:/` has none, and its backslashes escape. */
export const globSlashes = (glob: string): string => (/^(\w:)?\//.test(glob) ? glob : slashes(glob));

/** The folder before the first wildcard of a glob with its slash and without escapes, and the glob from there. */
export function splitGlob(glob: string): [folder: string, rest: string] {
  const [plain = ''] = glob.split(/(?<!\\)[*?[\]{}()]/, 1);
  const beginning = plain.slice(0, plain.lastIndexOf('/') + 1);
  return [beginning.replace(/\\(.)/g, '$1'), glob.slice(beginning.length)];
}
