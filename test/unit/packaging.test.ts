/** What the manifest and the lock file promise about installing. */
import { readdirSync, readFileSync } from 'node:fs';
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
const { nativePackages, platforms } = await script<{
  nativePackages: (target: string) => Record<string, RegExp>;
  platforms: readonly string[];
}>('platforms.mjs');

interface Manifest {
  readonly dependencies?: Record<string, string>;
  readonly optionalDependencies?: Record<string, string>;
  readonly peerDependenciesMeta: Record<string, { optional: boolean }>;
  readonly allowScripts: Record<string, boolean>;
}
interface Lock {
  readonly packages: Record<string, { readonly hasInstallScript?: boolean }>;
}

const manifest = read<Manifest>('package.json');
const lock = read<Lock>('package-lock.json').packages;

test('a package of ours depends on nothing', () => {
  // Bundles hold everything else: what is listed here would be installed twice, and its install script would run. The packages of platforms
  // are not named either: npm would ask a registry for them, where anyone may give anything that name.
  expect({ ...manifest.dependencies, ...manifest.optionalDependencies }).toEqual({});
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

test('for every platform the lock file has its packages, in the versions that are asked for', () => {
  const { optionalDependencies: asked } = read<{ optionalDependencies: Record<string, string> }>(
    'natives/package.json',
  );
  const onnx = lockedPackage('onnxruntime-node').version;
  for (const target of platforms)
    for (const name of Object.keys(nativePackages(target))) {
      const { version, integrity } = lockedPackage(name);
      const wanted = name.startsWith('onnxruntime-') ? onnx : (asked[name] ?? asked['koffi']);
      expect([name, version]).toEqual([name, wanted]);
      expect(integrity).toMatch(/^sha512-/);
    }
});

test('of ONNX Runtime every platform takes the binding and one library, where it has any', () => {
  const folder = path.join(root, 'node_modules/onnxruntime-node');
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((name) => name.replaceAll('\\', '/'));
  const taken = platforms.map((target) => {
    const pattern = nativePackages(target)['onnxruntime-node'];
    return files.filter((name) => name.startsWith('bin/') && pattern?.test(name)).map((name) => path.basename(name));
  });
  expect(Object.fromEntries(platforms.map((target, i) => [target, taken[i]!.sort()]))).toEqual({
    'darwin-arm64': ['libonnxruntime.1.dylib', 'onnxruntime_binding.node'],
    'darwin-x64': [],
    'linux-arm64': ['libonnxruntime.so.1', 'onnxruntime_binding.node'],
    'linux-x64': ['libonnxruntime.so.1', 'onnxruntime_binding.node'],
    'win32-arm64': ['onnxruntime.dll', 'onnxruntime_binding.node'],
    'win32-x64': ['onnxruntime.dll', 'onnxruntime_binding.node'],
  });
});

test('the texts of what was compiled into ONNX Runtime are those of its version', () => {
  // After an update, natives/notices/onnxruntime*.txt are copied anew from the Python package of that version.
  expect(lockedPackage('onnxruntime-node').version).toBe('1.30.0');
});

test('a package of another platform that is not what the lock file says is found out', () => {
  const bytes = Buffer.from('a package');
  // openssl dgst -sha512 -binary | base64
  const integrity = 'sha512-lI2d9nx0gRaX9NBCiZTClpHmOErJBcRt2N7X5LscwHYyVz7154wN7JsM+kCuEtAT/npvZX0s5104l3pIJMHYgg==';
  expect(isSound(bytes, integrity)).toBe(true);
  expect(isSound(Buffer.from('another'), integrity)).toBe(false);
});
