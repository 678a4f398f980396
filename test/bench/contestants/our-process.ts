/** This project as a contestant in a process of its own, bundled as the bench itself is (../bundle.mjs). */
import path from 'node:path';
import { benchCache } from '../material.ts';
import type { Clock } from '../measure.ts';
import { startChild, type Child } from './child.ts';

export const ourChild = (clock: Clock): Child =>
  startChild('this project', path.join(benchCache, 'program/ours-child.mjs'), clock);
