/** What the manifest and the lock file promise about installing. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';

const root = path.resolve(import.meta.dirname, '../..');
const read = <T>(file: string): T => JSON.parse(readFileSync(path.join(root, file), 'utf8')) as T;

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
