/** Exits are found by the hash of the weights that they were tuned for. */
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { exitsRow } from '../../../../extension/runs/exits-texts.ts';
import { exitsOfBase, findExits, findStudies } from '../../../../backend/recipes/at-hand/catalogue.ts';

it('the newest exits of these weights are found, under whatever name; without any nothing is hashed', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'early-exit-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  let hashed = 0;
  const find = () => exitsOfBase([folder], async () => (hashed++, 'aaa'));
  expect([await find(), hashed]).toEqual([null, 0]);
  const exits = (name: string, content: string, day: number): string => {
    const directory = join(folder, name);
    mkdirSync(directory);
    writeFileSync(join(directory, 'exits.json'), content);
    writeFileSync(join(directory, 'exits.safetensors'), '');
    utimesSync(join(directory, 'exits.json'), day, day);
    return directory;
  };
  exits('old.exits', JSON.stringify({ base: { name: 'm', sha256: 'aaa' } }), 1000);
  const newest = exits('new.exits', JSON.stringify({ base: { name: 'other', sha256: 'aaa' } }), 2000);
  exits('others.exits', JSON.stringify({ base: { name: 'm', sha256: 'bbb' } }), 3000);
  exits('damaged.exits', '{', 4000);
  expect([await find(), hashed]).toEqual([newest, 1]);
});

it('exits say what their calibration found', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'early-exit-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const figure = (value: number) => ({ value, error: 0.01 });
  const files = {
    a: { calibration: { fastest: 'fast', brought: { speedup: figure(1.31), agreement: figure(0.992) } } },
    b: { calibration: { fastest: 'lossless', brought: null } },
    c: { calibration: null },
  };
  for (const [name, file] of Object.entries(files)) {
    mkdirSync(join(folder, name));
    writeFileSync(join(folder, name, 'exits.json'), JSON.stringify(file));
    writeFileSync(join(folder, name, 'exits.safetensors'), '');
  }
  // Another program's file of that name.
  mkdirSync(join(folder, 'results'));
  writeFileSync(join(folder, 'results', 'exits.json'), '{}');
  const found = await findExits([folder]);
  expect(found.map(({ calibration }) => calibration)).toEqual([
    { mode: 'fast', speedup: 1.31, agreement: 0.992 },
    { mode: 'lossless', speedup: null, agreement: null },
    null,
  ]);
  expect(found.map((each) => exitsRow(each).split(' · ')[0])).toEqual([
    '1.31 × at 99.2 %',
    'lossless',
    'not calibrated',
  ]);
});

it('sweeps and judged tasks are found with what they are', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'early-exit-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const files = {
    'b.sweep/sweep.json': JSON.stringify({ format: 1, trials: [{}, {}] }),
    'a.tasks/evaluation.json': JSON.stringify({ identity: { model: 'm' } }),
    'c.sweep/sweep.json': '{',
  };
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(join(folder, name, '..'));
    writeFileSync(join(folder, name), content);
  }
  expect((await findStudies([folder])).map(({ name, kind, detail }) => [name, kind, detail])).toEqual([
    ['a.tasks', 'tasks', 'm'],
    ['b.sweep', 'sweep', '2 trials'],
    ['c.sweep', 'sweep', ''],
  ]);
});

it('what is in a folder that lies in another one is listed once, also deep in it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'early-exit-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const inner = join(folder, 'a', 'b', 'c');
  const deep = join(inner, 'd', 'e', 'my.exits');
  mkdirSync(deep, { recursive: true });
  for (const name of ['exits.json', 'exits.safetensors']) writeFileSync(join(deep, name), '{}');
  expect((await findExits([folder, inner])).map(({ directory }) => directory)).toEqual([deep]);
});
