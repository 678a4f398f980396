/**
 * File names in the description of a run, as they are written: relative to the folder of the exits, so that both can be moved together and
 * the description reveals no path of this machine; the model that ships by its name. When they are read they become absolute again.
 * Descriptions of earlier versions have absolute paths, which stay as they are.
 */
import * as path from 'node:path';
import { escapePath } from 'tinyglobby';
import { shippedModel } from '../../protocol/options/groups.ts';
import { globSlashes, slashes, splitGlob } from '../system/globs.ts';
import { packageRoot } from '../system/installed.ts';

type Tuning = Readonly<Record<string, unknown>>;

const shippedFolder = (): string => path.join(packageRoot(), 'models', shippedModel);

/** The options of a run as `exits.json` has them. */
export function writtenTuning(directory: string, tuning: Tuning): Tuning {
  const from = path.resolve(directory);
  const written = (file: string): string =>
    file === shippedFolder() ? shippedModel : (relativeTo(from, file) ?? path.basename(file));
  return inPaths(tuning, written, (pattern) =>
    inItsFolder(globSlashes(pattern), (file) => relativeTo(from, file) ?? file),
  );
}

/** The options of a run in memory: with paths that are valid wherever the program runs. */
export function readTuning(directory: string, tuning: Tuning): Tuning {
  const from = path.resolve(directory);
  const read = (file: string): string => (file === shippedModel ? shippedFolder() : absoluteFrom(from, file));
  return inPaths(tuning, read, (pattern) =>
    inItsFolder(isRelative(pattern) ? pattern : globSlashes(pattern), (file) => absoluteFrom(from, file)),
  );
}

function inPaths(tuning: Tuning, file: (path: string) => string, pattern: (path: string) => string): Tuning {
  const { model, continuePretraining, data } = tuning;
  return {
    ...tuning,
    ...(typeof model === 'string' && { model: file(model) }),
    ...(typeof continuePretraining === 'string' && { continuePretraining: file(continuePretraining) }),
    ...(Array.isArray(data) && {
      data: data.map((each: unknown) => (typeof each === 'string' ? marked(each, pattern) : each)),
    }),
  };
}

/** A pattern that leaves files out begins with a mark. */
const marked = (pattern: string, change: (path: string) => string): string =>
  pattern.startsWith('!') ? `!${change(pattern.slice(1))}` : change(pattern);

/** Changes the path of a pattern: of a glob the folder before its first wildcard, which is no glob until it is escaped. */
function inItsFolder(glob: string, change: (path: string) => string): string {
  if (!/[*?[\]{}()\\]/.test(glob)) return slashes(change(glob));
  const [folder, rest] = splitGlob(glob);
  const changed = folder === '' ? '' : escapePath(slashes(change(folder)));
  return changed === '' || changed.endsWith('/') ? `${changed}${rest}` : `${changed}/${rest}`;
}

/** Begins with a dot, to distinguish it from a name on the hub; null on another drive, to which no path leads. */
function relativeTo(from: string, file: string): string | null {
  if (!path.isAbsolute(file)) return file;
  const relative = path.relative(from, file);
  if (path.isAbsolute(relative)) return null;
  const way = slashes(relative);
  return isRelative(way) ? way : `./${way}`;
}

const isRelative = (file: string): boolean => /^\.{1,2}(\/|$)/.test(file);

const absoluteFrom = (from: string, file: string): string => (isRelative(file) ? path.resolve(from, file) : file);
