/** The programs as this run of tests has bundled them; see `bundle.ts`. */
import path from 'node:path';
import { inject } from 'vitest';

/** The file of a program. */
export const bundled = (name: string): string => path.join(inject('programs'), `${name}.js`);

/** The bundles among the files of a package, as this run of tests has made them: readable, with source maps. */
export const readableBundles = (packed: readonly string[]): string[] =>
  packed.flatMap((name) => {
    const [, file] = /^(?:extension\/)?dist\/((?!node_modules\/).*\.c?js)$/.exec(name) ?? [];
    return file === undefined ? [] : [path.join(inject('programs'), file)];
  });
