/** `npm run package [-- --target PLATFORM …]`: the extension as early-exit-<platform>.vsix, for this platform or for others. */
import { statSync } from 'node:fs';
import path from 'node:path';
import { readTargets } from './platforms.mjs';
import { installPackages, root } from './set-up.mjs';
import { writeVsix } from './vsix.mjs';

const targets = readTargets(`npm run package [-- [--target] PLATFORM …]

Writes early-exit-PLATFORM.vsix, for this platform where none is named.`);
installPackages();
for (const target of targets) {
  const file = await writeVsix(target, root);
  console.log(`${path.relative(process.cwd(), file)}: ${(statSync(file).size / 1e6).toFixed(1)} MB`);
}
