/** `npm run bench`: sets up what is missing, then measures. No dependencies of its own. */
import path from 'node:path';
import { root, run, setUp } from '../../scripts/set-up.mjs';

setUp();
run(process.execPath, [
  path.join(root, 'node_modules/tsx/dist/cli.mjs'),
  path.join(import.meta.dirname, 'run.ts'),
  ...process.argv.slice(2),
]);
