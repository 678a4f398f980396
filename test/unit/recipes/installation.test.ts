import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, expect, test } from 'vitest';
import {
  commandOf,
  installationOf,
  librariesOf,
  packageRoot,
  thisInstallation,
} from '../../../backend/recipes/installation.ts';

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

/** A package's folder with its manifest. */
function folderWith(manifest: object): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'early-exit-'));
  folders.push(folder);
  writeFileSync(path.join(folder, 'package.json'), JSON.stringify(manifest));
  return folder;
}

test('a clone, a package of npm and an unpacked extension are distinguished', () => {
  expect(thisInstallation()).toEqual({ kind: 'clone', root: packageRoot() });
  const installed = folderWith({ name: 'early-exit', bin: { 'early-exit': 'dist/cli.js' } });
  expect(thisInstallation(installed).kind).toBe('npm');
  expect(thisInstallation(folderWith({ name: 'early-exit' })).kind).toBe('extension');
  mkdirSync(path.join(installed, 'backend'));
  expect(thisInstallation(installed).kind).toBe('clone');
});

test('each is called and given packages by what works there', () => {
  const root = path.resolve('/some where/early-exit');
  const all = (['clone', 'npm', 'extension'] as const).map((kind) => ({ kind, root }));
  expect(all.map(commandOf)).toEqual(['npx early-exit', 'early-exit', `node "${path.join(root, 'dist', 'cli.js')}"`]);
  const beside = `npm install --no-save --omit=dev --prefix "${root}" webgpu`;
  expect(all.map((each) => installationOf('webgpu', each))).toEqual(['npm install --no-save webgpu', beside, beside]);
});

test('the libraries of this platform come by what brought the program', () => {
  const name = `early-exit-${process.platform}-${process.arch}`;
  const root = folderWith({ version: '9.9.9' });
  const all = (['clone', 'npm', 'extension'] as const).map((kind) => librariesOf({ kind, root }));
  expect(all).toEqual(['npm ci', `npm install --global ${name}-9.9.9.tgz`, `code --install-extension ${name}.vsix`]);
  const project = folderWith({});
  const inside = path.join(project, 'node_modules/early-exit');
  mkdirSync(inside, { recursive: true });
  writeFileSync(path.join(inside, 'package.json'), JSON.stringify({ version: '9.9.9' }));
  expect(librariesOf({ kind: 'npm', root: inside })).toBe(`npm install ${name}-9.9.9.tgz`);
});
