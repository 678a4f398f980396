/** After `npm pack`: the package of this platform, beside the main one. `npm run release` makes those of all platforms. */
import path from 'node:path';
import { packPlatform, thisPlatform } from './platforms.mjs';
import { root } from './set-up.mjs';

const { npm_command: command, npm_config_dry_run: dryRun, npm_config_pack_destination: destination } = process.env;
// npm takes the folder from where it was started.
const folder = path.resolve(process.env.INIT_CWD ?? root, destination || '.');
if (command === 'pack' && dryRun !== 'true') packPlatform(thisPlatform, folder);
