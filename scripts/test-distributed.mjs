/**
 * `npm run test:distributed`: brings PyTorch and Ray, at the versions of distributed/requirements.txt, into the git-ignored cache, and runs
 * every test of tuning on them. Needs python3 with venv; the packages take some gigabytes. No dependencies of its own.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fail, installPackages, root, run } from './set-up.mjs';

const folder = path.join(root, '.cache/distributed');
const python = path.join(folder, 'bin/python');
const wanted = readFileSync(path.join(root, 'distributed/requirements.txt'), 'utf8');
/** What is installed there, written once it is. */
const mark = path.join(folder, 'requirements.txt');

if (process.platform === 'win32') fail('Ranks of gloo are tested on Linux and macOS.');
installPackages();
if (!existsSync(mark) || readFileSync(mark, 'utf8') !== wanted) {
  const { status } = spawnSync('python3', ['-m', 'venv', folder], { stdio: 'inherit' });
  if (status !== 0) fail('A Python environment could not be made: install python3 and its venv.');
  run(python, ['-m', 'pip', 'install', '--quiet', '--requirement', 'distributed/requirements.txt']);
  writeFileSync(mark, wanted);
}
const environment = { EARLY_EXIT_DISTRIBUTED: 'whole', EARLY_EXIT_PYTHON: python, OMP_NUM_THREADS: '1' };
run(python, ['-m', 'pytest', '-q', 'distributed'], { environment });
run(
  process.execPath,
  ['node_modules/vitest/vitest.mjs', 'run', 'test/distributed', 'test/unit/cluster', '--maxWorkers=1'],
  { environment },
);
