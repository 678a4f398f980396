/** `npm run bench`: sets up, measures in one run and writes docs/results.json and the tables of docs/results.md. No dependencies of its own. */
import path from 'node:path';
import { root, run, setUp } from './set-up.mjs';

setUp();
run(process.execPath, [
  path.join(root, 'node_modules/tsx/dist/cli.mjs'),
  'scripts/bench/main.ts',
  ...process.argv.slice(2),
]);
