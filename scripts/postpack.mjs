/** After `npm pack`: the package of this platform, beside the main one. `npm run release` makes those of all platforms. */
import { packPlatform, thisPlatform } from './platforms.mjs';
import { root } from './set-up.mjs';

const { npm_command: command, npm_config_dry_run: dryRun, npm_config_pack_destination: destination } = process.env;
if (command === 'pack' && dryRun !== 'true') packPlatform(thisPlatform, destination || root);
