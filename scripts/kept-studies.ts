/** Studies that are kept in docs/study/. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { Study } from './study.ts';

/** A kept study by its name; null if there is none. */
export type Kept = (study: string) => Study | null;

export const keptIn =
  (root: string): Kept =>
  (study) => {
    const file = path.join(root, 'docs/study', `${study}.json`);
    return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Study) : null;
  };
