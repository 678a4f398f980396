/**
 * `npm run release [-- --target PLATFORM …]`: everything that is given to others, in release/: the packages of npm, the extension of each
 * platform and SHA-256 sums. Each package holds its notices. From one commit the bytes are always the same.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { writeNotices } from './notices.mjs';
import { packPlatform, platforms, readTargets } from './platforms.mjs';
import { fail, installPackages, npm, root, run } from './set-up.mjs';
import { writeVsix } from './vsix.mjs';

const usage = `npm run release [-- [--target] PLATFORM …]

Writes release/: tarballs and extensions, of every platform where none is named.`;

const targets = readTargets(usage, platforms);
if (git('status', '--porcelain') !== '')
  fail('There are changes that are not committed: a release is made of a commit.');
// The time that files have in an archive, and the zone that it is written in.
process.env.SOURCE_DATE_EPOCH = git('log', '-1', '--format=%ct');
process.env.TZ = 'UTC';
// What files may be done with is the commit's, too, not the user's.
process.umask(0o022);
for (const line of git('ls-files', '--stage').split('\n')) {
  const [, mode, name] = /^\d{3}(\d{3}) [^\t]*\t(.*)$/.exec(line);
  chmodSync(path.join(root, name), parseInt(mode, 8));
}
installPackages();

const folder = path.join(root, 'release');
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder);
// All packages hold the same bundles, which npm would make once more before it packs.
const { bundle } = await import('./bundle.mjs');
const dist = path.join(root, 'dist');
const bundles = { folder: dist, packages: await bundle(dist, { forPackage: true }) };
writeNotices(root, bundles.packages);
const [command, args] = npm('pack', '--silent', '--ignore-scripts', `--pack-destination=${folder}`);
run(command, args);
for (const target of targets) {
  packPlatform(target, folder);
  writeVsix(target, folder, bundles);
}
const sums = readdirSync(folder)
  .sort()
  .map(
    (name) =>
      `${createHash('sha256')
        .update(readFileSync(path.join(folder, name)))
        .digest('hex')}  ${name}\n`,
  );
writeFileSync(path.join(folder, 'SHA256SUMS'), sums.join(''));
console.log(sums.join(''));

function git(...words) {
  const { status, stdout, error } = spawnSync('git', words, { cwd: root, encoding: 'utf8' });
  return status === 0 ? stdout.trim() : fail(`git does not answer here: ${error?.message ?? `code ${status}`}.`);
}
