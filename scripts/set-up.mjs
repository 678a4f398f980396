/** What a fresh clone needs before anything else: a recent Node, the packages of the lock file, the bundles. No dependencies. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

// `import.meta.dirname` is not there in the versions of Node that are refused below.
export const root = path.resolve(fileURLToPath(import.meta.url), '../..');

const OLDEST_NODE = 20;

/** Installs and builds what is missing; ends the process with a sentence if that fails. */
export function setUp() {
  installPackages();
  run(process.execPath, ['scripts/build.mjs']);
}

/** Brings node_modules to the lock file; no package's script runs, so nothing but packages is downloaded. */
export function installPackages() {
  const [major] = process.versions.node.split('.');
  if (Number(major) < OLDEST_NODE)
    fail(`Node ${OLDEST_NODE} or newer is needed; this is Node ${process.versions.node}.`);
  if (!packagesMatchLock()) {
    console.error('Installing packages (npm ci) …');
    // An enclosing `npm pack --dry-run` or `npm install --global` hands its own settings down.
    const [command, args] = npm('ci', '--ignore-scripts', '--include=dev', '--dry-run=false', '--global=false');
    run(command, args, { toErrors: true });
  }
}

/**
 * Runs a command in the repository (or in `folder`) with this terminal; ends the process with its code if it fails.
 * `toErrors`: what it prints goes to standard error, as standard output is someone else's.
 */
export function run(command, args, { environment = {}, folder = root, toErrors = false } = {}) {
  const { status, error } = spawnSync(command, args, {
    cwd: folder,
    stdio: ['inherit', toErrors ? 2 : 'inherit', 'inherit'],
    env: { ...process.env, ...environment },
  });
  if (error) fail(`${command} did not start: ${error.message}`);
  if (status !== 0) process.exit(status ?? 1);
}

/** Command and arguments of npm: the one that runs this script, or the one on PATH. */
export function npm(...args) {
  const own = process.env.npm_execpath;
  if (own?.endsWith('.js')) return [process.execPath, [own, ...args]];
  return process.platform === 'win32' ? [process.env.ComSpec ?? 'cmd.exe', ['/c', 'npm', ...args]] : ['npm', args];
}

function packagesMatchLock() {
  const installed = path.join(root, 'node_modules/.package-lock.json');
  if (!existsSync(installed)) return false;
  const [wanted, found] = [path.join(root, 'package-lock.json'), installed].map(
    (file) => JSON.parse(readFileSync(file, 'utf8')).packages,
  );
  return Object.entries(wanted).every(
    // Optional ones are those of other platforms, too.
    ([name, { version, optional }]) => name === '' || (optional && !found[name]) || found[name]?.version === version,
  );
}

/** Ends the process with a sentence. */
export function fail(sentence) {
  console.error(sentence);
  process.exit(1);
}
