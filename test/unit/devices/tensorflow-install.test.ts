/** The build itself takes a minute and 300 MB: here its tools are scripts that fail, hang or are not there. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { installTensorFlow } from '../../../backend/devices/tensorflow-install.ts';

const headers = path.join(path.dirname(path.dirname(process.execPath)), 'include', 'node', 'node_api.h');
const canBuild = process.platform === 'linux' && process.arch === 'x64' && existsSync(headers);
if (!canBuild) console.warn('Skipped: this Node has no headers, or this is not Linux on x64.');

describe.skipIf(!canBuild)('building TensorFlow', () => {
  const before = { ...process.env };
  let folder = '';
  let cache = '';

  beforeEach(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'early-exit-'));
    cache = path.join(folder, 'cache');
    mkdirSync(path.join(folder, 'bin'));
    process.env['EARLY_EXIT_CACHE'] = cache;
    process.env['PATH'] = path.join(folder, 'bin');
    for (const name of ['python3', 'npm', 'make', 'g++']) tool(name, 'exit 0');
  });
  afterEach(() => {
    process.env['PATH'] = before['PATH'];
    if (before['EARLY_EXIT_CACHE'] === undefined) delete process.env['EARLY_EXIT_CACHE'];
    else process.env['EARLY_EXIT_CACHE'] = before['EARLY_EXIT_CACHE'];
    rmSync(folder, { recursive: true });
  });

  const tool = (name: string, script: string): void => {
    const file = path.join(folder, 'bin', name);
    writeFileSync(file, `#!/bin/sh\n${script}\n`);
    chmodSync(file, 0o755);
  };
  const baited = (file: string): void => {
    writeFileSync(file, '#!/bin/sh\necho run > "$PWD/run"\n');
    chmodSync(file, 0o755);
  };
  const install = async (signal = new AbortController().signal): Promise<string[]> => {
    const details: string[] = [];
    for await (const { detail } of installTensorFlow('tensorflow', signal)) details.push(detail);
    return details;
  };
  const left = (): string[] => (existsSync(cache) ? readdirSync(cache) : []);

  test.each([
    ['g++', 'The build needs g++, a C++ compiler, which was not found.'],
    ['npm', 'The build needs npm, which was not found.'],
    ['python3', 'The build needs python3, which was not found.'],
  ])('%s is missing', async (name, sentence) => {
    rmSync(path.join(folder, 'bin', name));
    await expect(install()).rejects.toThrow(sentence);
    expect(left()).toEqual([]);
  });

  test('venv is missing', async () => {
    tool('python3', '[ "$2" = --version ]');
    await expect(install()).rejects.toThrow("The build needs Python's venv, which was not found.");
  });

  test('nothing of the working directory is run, and Python sees no modules but its own', async () => {
    const bait = path.join(folder, 'bait');
    mkdirSync(bait);
    for (const name of ['python3', 'npm', 'make', 'g++']) baited(path.join(bait, name));
    process.env['PATH'] = `:.:${process.env['PATH']}`;
    const calls = path.join(folder, 'calls');
    // As Python would: without -I, modules of the working directory come first.
    tool('python3', `echo "$PWD $*" >> ${calls}; [ "$3" != venv ]`);
    const before = process.cwd();
    process.chdir(bait);
    try {
      await expect(install()).rejects.toThrow('python3');
    } finally {
      process.chdir(before);
    }
    expect(readdirSync(bait).sort()).toEqual(['g++', 'make', 'npm', 'python3']);
    const lines = readFileSync(calls, 'utf8').trim().split('\n');
    expect(lines).toHaveLength(3);
    for (const line of lines) {
      expect(line).toContain(' -I ');
      expect(line.startsWith(`${bait} `)).toBe(false);
    }
  });

  test('what is downloaded is known by its hash', async () => {
    const seen = path.join(folder, 'seen');
    // The environment's Python is a copy of this one.
    tool(
      'python3',
      `if [ "$3" = venv ]; then /bin/mkdir -p venv/bin; /bin/cp "$0" venv/bin/python; fi
if [ "$3" = pip ]; then echo "$@" > ${seen}; /bin/cat requirements.txt >> ${seen}; fi`,
    );
    tool('npm', `[ "$1" = ci ] && /bin/cp package-lock.json ${seen}.npm; [ "$1" = --version ]`);
    await expect(install()).rejects.toThrow('failed at "npm ci');
    const [words, ...requirements] = readFileSync(seen, 'utf8').trim().split('\n');
    expect(words).toContain('--require-hashes');
    expect(requirements).toHaveLength(1);
    expect(requirements[0]).toMatch(/^tensorflow-cpu==[\d.]+ --hash=sha256:[0-9a-f]{64}$/);
    const { packages } = JSON.parse(readFileSync(`${seen}.npm`, 'utf8')) as {
      packages: Record<string, { integrity?: string; resolved?: string }>;
    };
    for (const [name, { integrity, resolved }] of Object.entries(packages)) {
      if (name !== '') expect(integrity).toMatch(/^sha512-/);
      expect(resolved).toBeUndefined();
    }
  });

  test('a step that fails is reported with its error, and leaves nothing', async () => {
    tool('python3', 'if [ "$3" = venv ]; then echo start; echo "ERROR: no space left"; exit 1; fi');
    await expect(install()).rejects.toThrow('failed at "python3 -I -m venv …": ERROR: no space left');
    expect(left()).toEqual([]);
  });

  test('cancelling ends what a step has started, and leaves nothing', async () => {
    const file = path.join(folder, 'pid');
    tool('python3', `if [ "$3" = venv ]; then /bin/sleep 60 & echo $! > ${file}; wait; fi`);
    const controller = new AbortController();
    const running = install(controller.signal);
    const ended = expect(running).rejects.toThrow('enough');
    while (!existsSync(file) || readFileSync(file, 'utf8') === '') await sleep(10);
    controller.abort(new Error('enough'));
    await ended;
    await sleep(50);
    const state = `/proc/${readFileSync(file, 'utf8').trim()}/stat`;
    expect(existsSync(state) ? readFileSync(state, 'utf8').split(' ')[2] : 'Z').toBe('Z'); // gone, or not yet reaped
    expect(left()).toEqual([]);
  });

  test('what a killed build left is removed, and what another one is building is not', async () => {
    mkdirSync(path.join(cache, 'tensorflow.building-999999999'), { recursive: true });
    mkdirSync(path.join(cache, `tensorflow.building-${process.ppid}`));
    tool('python3', '[ "$3" != venv ]');
    await expect(install()).rejects.toThrow('python3');
    expect(left()).toEqual([`tensorflow.building-${process.ppid}`]);
  });
});
