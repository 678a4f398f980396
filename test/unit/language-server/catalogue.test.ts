/** Exits are found by the hash of the weights that they were tuned for. */
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { exitsOfBase } from '../../../backend/language-server/catalogue.ts';

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
    utimesSync(join(directory, 'exits.json'), day, day);
    return directory;
  };
  exits('old.exits', JSON.stringify({ base: { name: 'm', sha256: 'aaa' } }), 1000);
  const newest = exits('new.exits', JSON.stringify({ base: { name: 'other', sha256: 'aaa' } }), 2000);
  exits('others.exits', JSON.stringify({ base: { name: 'm', sha256: 'bbb' } }), 3000);
  exits('damaged.exits', '{', 4000);
  expect([await find(), hashed]).toEqual([newest, 1]);
});
