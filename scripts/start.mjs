/** `npm start`: sets up a fresh clone and shows the whole of it on the model that ships. No dependencies. */
import { run, setUp } from './set-up.mjs';

setUp();
run(process.execPath, ['dist/cli.js', 'start', ...process.argv.slice(2)]);
