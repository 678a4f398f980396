/** What the manifest and the lock file promise about installing. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';

const root = path.resolve(import.meta.dirname, '../..');
const read = <T>(file: string): T => JSON.parse(readFileSync(path.join(root, file), 'utf8')) as T;

/** Scripts are plain JavaScript, which runs before anything is installed. */
const script = async <T>(name: string): Promise<T> => (await import(path.join(root, 'scripts', name))) as T;
const { isSound, lockedPackage } = await script<{
  isSound: (bytes: Uint8Array, integrity: string) => boolean;
  lockedPackage: (name: string) => { readonly version: string; readonly integrity: string };
}>('foreign.mjs');
const { ggmlPackages, platforms } = await script<{
  ggmlPackages: (target: string) => string[];
  platforms: () => string[];
}>('runtime.mjs');

interface Manifest {
  readonly dependencies?: Record<string, string>;
  readonly peerDependenciesMeta: Record<string, { optional: boolean }>;
  readonly allowScripts: Record<string, boolean>;
}
interface Lock {
  readonly packages: Record<string, { readonly hasInstallScript?: boolean }>;
}

const manifest = read<Manifest>('package.json');
const lock = read<Lock>('package-lock.json').packages;

test('a package of ours depends on nothing but optional additions', () => {
  // Bundles hold everything else: what is listed here would be installed twice, and its install script would run.
  expect(manifest.dependencies ?? {}).toEqual({});
  for (const name of ['@tensorflow/tfjs-node', '@tensorflow/tfjs-node-gpu']) {
    expect(manifest.peerDependenciesMeta[name]).toEqual({ optional: true });
  }
});

test('no install script runs in a clone', () => {
  const scripted = Object.entries(lock).filter(([, entry]) => entry.hasInstallScript);
  // Versions of npm that know `allowScripts` obey it; older ones run what the lock file says has a script.
  const allowed = scripted.filter(([name]) => manifest.allowScripts[name.replace(/^.*node_modules\//, '')] !== false);
  expect(allowed.map(([name]) => name)).toEqual([]);
  // ONNX Runtime's would download CUDA from another host: after updating it, take `hasInstallScript` out of the lock file again.
  expect(lock['node_modules/onnxruntime-node']).not.toHaveProperty('hasInstallScript');
});

test('for every platform the lock file has ggml and koffi, in the versions that are asked for', () => {
  const { optionalDependencies: asked } = read<{ optionalDependencies: Record<string, string> }>('package.json');
  expect(platforms()).toEqual(expect.arrayContaining(['darwin-arm64', 'linux-arm64', 'linux-x64', 'win32-x64']));
  for (const target of platforms())
    for (const name of ggmlPackages(target)) {
      const { version, integrity } = lockedPackage(name);
      expect([name, version]).toEqual([name, asked[name] ?? asked['koffi']]);
      expect(integrity).toMatch(/^sha512-/);
    }
});

test('a package of another platform that is not what the lock file says is found out', () => {
  const bytes = Buffer.from('a package');
  // openssl dgst -sha512 -binary | base64
  const integrity = 'sha512-lI2d9nx0gRaX9NBCiZTClpHmOErJBcRt2N7X5LscwHYyVz7154wN7JsM+kCuEtAT/npvZX0s5104l3pIJMHYgg==';
  expect(isSound(bytes, integrity)).toBe(true);
  expect(isSound(Buffer.from('another'), integrity)).toBe(false);
});
