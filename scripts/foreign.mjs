/**
 * Packages of the lock file that npm does not install here, since they are another platform's: npm fetches them, they are held to the lock
 * file's SHA-512, and kept in .cache/packages. No dependencies.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { fail, npm, root, run } from './set-up.mjs';

/** The folder of a package. Ends the process with a sentence if it cannot be fetched, or is not what the lock file says. */
export function packageFolder(name) {
  const { version, integrity } = lockedPackage(name);
  const installed = path.join(root, 'node_modules', name);
  if (installedVersion(installed) === version) return installed;
  const folder = path.join(root, '.cache/packages', `${name}-${version}`);
  if (existsSync(folder)) return folder;
  const partial = `${folder}.${process.pid}.tmp`;
  const content = path.join(partial, 'content');
  mkdirSync(content, { recursive: true });
  try {
    const options = ['--silent', '--ignore-scripts', '--dry-run=false', `--pack-destination=${partial}`];
    const [command, args] = npm('pack', `${name}@${version}`, ...options);
    run(command, args, { toErrors: true });
    const tarball = path.join(
      partial,
      readdirSync(partial).find((file) => file.endsWith('.tgz')),
    );
    if (!isSound(readFileSync(tarball), integrity)) fail(`${name} ${version} is not what package-lock.json says.`);
    run('tar', ['-xzf', tarball, '-C', content, '--strip-components=1']);
    renameSync(content, folder);
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
  return folder;
}

function installedVersion(folder) {
  const manifest = path.join(folder, 'package.json');
  return existsSync(manifest) ? JSON.parse(readFileSync(manifest, 'utf8')).version : null;
}

/** Version and SHA-512 of a package of the lock file. */
export function lockedPackage(name) {
  const found = JSON.parse(readFileSync(path.join(root, 'package-lock.json'), 'utf8')).packages[`node_modules/${name}`];
  if (!found) fail(`package-lock.json has no ${name}.`);
  return found;
}

/** Whether bytes have an integrity as npm writes it: `sha512-…`. */
export const isSound = (bytes, integrity) =>
  integrity === `sha512-${createHash('sha512').update(bytes).digest('base64')}`;
