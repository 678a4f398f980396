/** What passes cost is measured once: kept by model and device, and what is no table is none. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openSession } from '../../../../backend/decoding/session.ts';
import { textDrafts } from '../../../../backend/decoding/drafts/draft.ts';
import { keepPasses, passesOf, readPasses } from '../../../../backend/recipes/opening/kept-passes.ts';
import { openStagedModel } from '../../../../backend/runtime/open.ts';
import type { Slots } from '../../../../backend/runtime/staged-model.ts';
import { decodeAll, plainRequest } from '../../../support/decoding.ts';
import { tinyModel } from '../../../support/models.ts';

const before = process.env['EARLY_EXIT_CACHE'];
const folder = mkdtempSync(path.join(tmpdir(), 'early-exit-passes-'));
const file = path.join(folder, 'model');
beforeAll(() => {
  process.env['EARLY_EXIT_CACHE'] = folder;
  writeFileSync(file, 'weights');
});
afterAll(() => {
  if (before === undefined) delete process.env['EARLY_EXIT_CACHE'];
  else process.env['EARLY_EXIT_CACHE'] = before;
  rmSync(folder, { recursive: true });
});

const place = { files: [file], device: 'CPU', options: ['fast', 2] };
const ratios = [
  [1, 1],
  [2, 1.7],
] as const;
const table = { layers: ratios, readings: ratios };

test('a table is found again by its model and device, until the model changes', () => {
  expect(readPasses(place)).toBeNull();
  keepPasses(place, table);
  expect(readPasses(place)).toEqual(table);
  expect(readPasses({ ...place, device: 'vulkan: a card' })).toBeNull();
  expect(readPasses({ ...place, options: ['fast', 4] })).toBeNull();
  writeFileSync(file, 'other weights');
  expect(readPasses(place)).toBeNull();
});

test('the last ones stay', () => {
  keepPasses(place, table);
  for (let n = 0; n < 63; n++) keepPasses({ ...place, device: `card ${n}` }, table);
  expect(readPasses(place)).toEqual(table);
  keepPasses({ ...place, device: 'another' }, table);
  expect(readPasses(place)).toBeNull();
});

test.each([
  '',
  'null',
  '{}',
  '[[]]',
  '[["k"]]',
  '[["k", {"layers": [[1, 0]], "readings": [[1, 1]]}]]',
  '[["k", null]]',
])('a file that says %s is no table', (text) => {
  writeFileSync(path.join(folder, 'passes.json'), text);
  expect(readPasses(place)).toBeNull();
  keepPasses(place, table);
  expect(readPasses(place)).toEqual(table);
});

test('passes are measured where nothing is kept, a small model having its sizes too; a session measures none', async () => {
  const model = tinyModel('llama-untied');
  const staged = await openStagedModel(model);
  const measured = await passesOf(staged, { ...place, device: 'unknown' });
  for (const part of [measured.layers, measured.readings]) {
    // As many as there was time for.
    expect(part.length).toBeGreaterThan(1);
    expect(part.map(([tokens]) => tokens)).toEqual([1, 2, 3, 4, 8, 16].slice(0, part.length));
    expect(part[0]![1]).toBe(1);
    expect(Math.min(...part.map(([, ratio]) => ratio))).toBeGreaterThan(0);
  }
  keepPasses(place, table);
  expect(await passesOf(staged, place)).toEqual(table);

  const passes: number[] = [];
  const openSlots = (rows: number): Slots => {
    const slots = staged.openSlots(rows);
    const run: Slots['run'] = (...how) => {
      passes.push(Math.max(...how[1]));
      return slots.run(...how);
    };
    return { ...slots, run };
  };
  const session = openSession({ ...staged, openSlots });
  await decodeAll(session, plainRequest([[7, 99, 23]], 4, { drafts: textDrafts(8) }));
  // The prompt, and what was drafted.
  expect(passes.reduce((sum, tokens) => sum + tokens, 0)).toBeLessThan(40);
  session.dispose();
  await staged.dispose();
  model.close();
});
