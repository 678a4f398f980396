/**
 * File names in the description of a run, as they are written: relative to the folder of the exits, so that both can be moved together and
 * the description reveals no path of this machine; the model that ships by its name. When they are read they become absolute again.
 * Descriptions of earlier versions have absolute paths, which stay as they are.
 */
import * as path from 'node:path';
import { shippedModel } from '../../protocol/options/groups.ts';
import { packageRoot } from '../system/installed.ts';

type Tuning = Readonly<Record<string, unknown>>;

const shippedFolder = (): string => path.join(packageRoot(), 'models', shippedModel);

/** The options of a run as `exits.json` has them. */
export function writtenTuning(directory: string, tuning: Tuning): Tuning {
  const from = path.resolve(directory);
  const written = (file: string): string => (file === shippedFolder() ? shippedModel : relativeTo(from, file));
  return inPaths(tuning, written, (pattern) => relativeTo(from, pattern));
}

/** The options of a run in memory: with paths that are valid wherever the program runs. */
export function readTuning(directory: string, tuning: Tuning): Tuning {
  const from = path.resolve(directory);
  const read = (file: string): string => (file === shippedModel ? shippedFolder() : absoluteFrom(from, file));
  return inPaths(tuning, read, (pattern) => slashes(absoluteFrom(from, pattern)));
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

/** Begins with a dot, to distinguish it from a name on the hub; of a file on another drive, only the name. */
function relativeTo(from: string, file: string): string {
  if (!path.isAbsolute(file)) return file;
  const relative = path.relative(from, file).replaceAll(path.sep, '/');
  if (path.isAbsolute(relative)) return path.basename(file);
  return relative.startsWith('.') ? relative : `./${relative}`;
}

const isRelative = (file: string): boolean => /^\.{1,2}(\/|$)/.test(file);

const absoluteFrom = (from: string, file: string): string => (isRelative(file) ? path.resolve(from, file) : file);

/** Patterns have slashes on every platform. */
const slashes = (pattern: string): string => pattern.replaceAll(path.sep, '/');
