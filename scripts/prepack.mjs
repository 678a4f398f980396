/**
 * Before `npm pack` and `npm publish`: dist/ and the notices of what its bundles hold. A dry run shows what would be packed, and writes
 * neither if both exist.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { noticesFile, writeNotices } from './notices.mjs';
import { installPackages, root } from './set-up.mjs';

const dist = path.join(root, 'dist');
const isBuilt = [path.join(dist, 'cli.js'), path.join(root, noticesFile)].every((file) => existsSync(file));
if (process.env.npm_config_dry_run !== 'true' || !isBuilt) {
  installPackages();
  const { bundle } = await import('./bundle.mjs');
  writeNotices(root, await bundle(dist, { forPackage: true }));
}
