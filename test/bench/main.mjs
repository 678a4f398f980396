/** `npm run bench`: sets up what is missing, then measures. No dependencies of its own. */
import { run, setUp } from '../../scripts/set-up.mjs';

setUp();
run(process.execPath, ['--import', 'tsx', 'test/bench/run.ts', ...process.argv.slice(2)]);
