/** The programs as this run of tests has bundled them; see `bundle.ts`. */
import path from 'node:path';
import { inject } from 'vitest';

/** The file of a program. */
export const bundled = (name: string): string => path.join(inject('programs'), `${name}.js`);
