import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { packageRoot } from '../../../backend/recipes/installation.ts';
import { resolveModel } from '../../../backend/worker/shipped.ts';
import { temporaryFolder } from '../formats/fixtures.ts';

const before = process.cwd();
afterEach(() => process.chdir(before));

it('means the model that ships by its name, whatever lies where one works', () => {
  process.chdir(temporaryFolder());
  mkdirSync('typescript-5m');
  expect(resolveModel('typescript-5m')).toBe(path.join(packageRoot(), 'models', 'typescript-5m'));
  expect(resolveModel('./typescript-5m')).toBe('./typescript-5m');
  expect(resolveModel('owner/name')).toBe('owner/name');
});
