import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  missingLibraries,
  nativePackage,
  packageRoot,
  platformPackage,
  versionIn,
} from '../../../backend/system/installed.ts';

let modules: string;
let place: string;
beforeEach(() => {
  place = realpathSync(mkdtempSync(path.join(tmpdir(), 'early-exit-')));
  modules = path.join(place, 'node_modules');
});
afterEach(() => rmSync(place, { recursive: true }));

/** A package with an entry, below a folder of packages; returns the entry. */
function packageIn(folder: string, name: string, version: string): string {
  const own = path.join(folder, name);
  mkdirSync(own, { recursive: true });
  writeFileSync(path.join(own, 'package.json'), JSON.stringify({ name, version }));
  writeFileSync(path.join(own, 'index.js'), '');
  return path.join(own, 'index.js');
}

const bundle = (): string => path.join(modules, 'early-exit/dist/worker.js');
const inside = (): string => path.join(modules, platformPackage, 'lib/node_modules');
const version = versionIn(packageRoot());

test("a package with libraries is that of the platform's package, whatever lies beside it", () => {
  packageIn(modules, 'koffi', '0.0.1');
  packageIn(modules, platformPackage, version);
  const wanted = packageIn(inside(), 'koffi', '3.3.4');
  expect(nativePackage('koffi', bundle())).toBe(wanted);
  expect(nativePackage('onnxruntime-node', bundle())).toBeNull();
});

test('in a clone it lies in node_modules', () => {
  const wanted = packageIn(modules, 'koffi', '3.3.4');
  expect(nativePackage('koffi', bundle())).toBe(wanted);
});

test('it is missing where there is neither', () => {
  mkdirSync(modules);
  expect(nativePackage('koffi', bundle())).toBeNull();
  expect(missingLibraries(bundle())).toBe(`the package ${platformPackage} is not installed`);
});

test('libraries of another version are not taken, and named', () => {
  packageIn(modules, platformPackage, '0.0.9');
  packageIn(inside(), 'koffi', '3.3.4');
  expect(nativePackage('koffi', bundle())).toBeNull();
  expect(missingLibraries(bundle())).toBe(`the package ${platformPackage} has version 0.0.9 instead of ${version}`);
});
