/** `npm run bench`: sets up what is missing, then measures. No dependencies of its own. */
import path from 'node:path';
import { run, setUp } from '../../scripts/set-up.mjs';

setUp();
const { bundleBench } = await import('./bundle.mjs');
const program = path.join(await bundleBench(), 'run.mjs');
run(process.execPath, ['--enable-source-maps', program, ...process.argv.slice(2)]);
