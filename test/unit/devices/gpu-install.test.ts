/** The package itself is 27 MB and wants a driver: here npm is a script that fails, hangs or brings something else. */
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { installGpu } from '../../../backend/devices/gpu-install.ts';
import { gpuPackage } from '../../../backend/devices/gpus.ts';

const wanted = process.platform === 'linux' ? gpuPackage('vulkan') : null;
if (wanted === null) console.warn('Skipped: there is no package of Vulkan for this platform, or no shell.');

describe.skipIf(wanted === null)("bringing ggml's Vulkan", () => {
  const before = { ...process.env };
  let folder = '';
  let cache = '';

  beforeEach(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'early-exit-'));
    cache = path.join(folder, 'cache');
    mkdirSync(path.join(folder, 'bin'));
    process.env['EARLY_EXIT_CACHE'] = cache;
    process.env['PATH'] = `${path.join(folder, 'bin')}:/usr/bin:/bin`;
  });
  afterEach(() => {
    process.env['PATH'] = before['PATH'];
    if (before['EARLY_EXIT_CACHE'] === undefined) delete process.env['EARLY_EXIT_CACHE'];
    else process.env['EARLY_EXIT_CACHE'] = before['EARLY_EXIT_CACHE'];
    rmSync(folder, { recursive: true });
  });

  const npm = (script: string): void => {
    const file = path.join(folder, 'bin', 'npm');
    writeFileSync(file, `#!/bin/sh\n[ "$1" = --version ] && exit 0\n${script}\n`);
    chmodSync(file, 0o755);
  };
  const install = async (signal = new AbortController().signal): Promise<string[]> => {
    const details: string[] = [];
    for await (const { detail } of installGpu('vulkan', signal)) details.push(detail);
    return details;
  };
  const left = (): string[] => (existsSync(cache) ? readdirSync(cache) : []);

  test('npm that fails, such as over another hash, is quoted, and nothing is left', async () => {
    npm('echo "npm error code EINTEGRITY" >&2; exit 1');
    await expect(install()).rejects.toThrow('npm error code EINTEGRITY');
    expect(left()).toEqual([]);
  });

  test('a package without the library is refused', async () => {
    npm('exit 0');
    await expect(install()).rejects.toThrow('does not hold the library that it should');
    expect(left()).toEqual([]);
  });

  test('a library that does not work here is not put in its place', async () => {
    const binaries = `node_modules/${wanted!.name}/bins/${wanted!.name.replace('@node-llama-cpp/', '')}`;
    npm(`mkdir -p ${binaries} && echo nonsense > ${binaries}/libggml-vulkan.so`);
    await expect(install()).rejects.toThrow(/was fetched, but it does not work here: /);
    expect(left()).toEqual([]);
  });

  test('one that is cancelled ends with what it started, and leaves nothing', async () => {
    npm('sleep 60');
    const controller = new AbortController();
    setTimeout(() => controller.abort(new Error('stop')), 300);
    await expect(install(controller.signal)).rejects.toThrow('stop');
    expect(left()).toEqual([]);
  });

  test('npm gets the version and the hash', async () => {
    npm(`cp package-lock.json ${path.join(folder, 'lock.json')}; exit 1`);
    await expect(install()).rejects.toThrow();
    const { default: lock } = (await import(path.join(folder, 'lock.json'), { with: { type: 'json' } })) as {
      default: { packages: Record<string, unknown> };
    };
    expect(lock.packages[`node_modules/${wanted!.name}`]).toEqual({
      version: '3.21.1',
      integrity: wanted!.integrity,
    });
  });
});
