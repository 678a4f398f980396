/** `npm run package [-- --target PLATFORM …]`: the extension as early-exit-<platform>.vsix, for this platform or for others. */
import { rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { readTargets } from './platforms.mjs';
import { installPackages, root } from './set-up.mjs';
import { writeVsix } from './vsix.mjs';

const targets = readTargets(`npm run package [-- [--target] PLATFORM …]

Writes early-exit-PLATFORM.vsix, for this platform where none is named.`);
installPackages();
const { bundle } = await import('./bundle.mjs');
const folder = path.join(root, '.cache/package/dist');
const bundles = { folder, packages: await bundle(folder, { forPackage: true }) };
for (const target of targets) {
  const file = writeVsix(target, root, bundles);
  console.log(`${path.relative(process.cwd(), file)}: ${(statSync(file).size / 1e6).toFixed(1)} MB`);
}
rmSync(folder, { recursive: true, force: true });
