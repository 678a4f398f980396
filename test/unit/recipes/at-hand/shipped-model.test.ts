import { mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { packageRoot } from '../../../../backend/recipes/installation.ts';
import { exitsAtHand } from '../../../../backend/recipes/at-hand/at-hand.ts';
import { identify } from '../../../../backend/recipes/opening/opened.ts';
import { openCheckpoint } from '../../../../backend/checkpoint/checkpoint.ts';
import { openModel } from '../../../../backend/model/open.ts';
import { resolveModel, shippedExits } from '../../../../backend/recipes/at-hand/shipped-model.ts';
import { temporaryFolder } from '../../formats/fixtures.ts';

const before = process.cwd();
afterEach(() => process.chdir(before));

it('means the model that ships by its name, whatever lies where one works', () => {
  process.chdir(temporaryFolder());
  mkdirSync('typescript-5m');
  expect(resolveModel('typescript-5m')).toBe(path.join(packageRoot(), 'models', 'typescript-5m'));
  expect(resolveModel('./typescript-5m')).toBe('./typescript-5m');
  expect(resolveModel('owner/name')).toBe('owner/name');
});

it('has exits that belong to it, are calibrated, and are small', async () => {
  const folder = shippedExits()!;
  const model = openModel(resolveModel('typescript-5m'));
  const { sha256 } = await identify(model, new AbortController().signal);
  model.close();
  const exits = openCheckpoint(folder, null);
  exits.close();
  expect(exits.base.sha256).toBe(sha256);
  expect(exits.calibration).not.toBeNull();
  const { bytes, run, problem } = exitsAtHand(folder);
  expect(bytes).toBeLessThan(5e6);
  expect(run).toBeNull();
  expect(problem).toBeNull();
  // Nothing of the machine on which they were tuned.
  expect(readFileSync(path.join(folder, 'exits.json'), 'utf8')).not.toMatch(/"\//);
});
