/** `npm run trial`: sets up what is missing, then tries. No dependencies of its own. */
import { run, setUp } from '../../scripts/set-up.mjs';

setUp();
run(process.execPath, ['--import', 'tsx', 'test/trial/run.ts', ...process.argv.slice(2)]);
