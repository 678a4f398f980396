/** What ranks report is read once, however long the report grows. */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { newLinesOf } from '../../../backend/cluster/follow.ts';

let root: string;
beforeEach(() => (root = fs.mkdtempSync(path.join(os.tmpdir(), 'follow-'))));
afterEach(() => fs.rmSync(root, { recursive: true, force: true }));

it('reads of a growing file only what is new, and a line once it is whole', () => {
  const file = path.join(root, 'events.jsonl');
  const lines = newLinesOf(file);
  expect(lines()).toBe('');
  fs.writeFileSync(file, 'one\ntw');
  expect(lines()).toBe('one\n');
  expect(lines()).toBe('');
  // Cut within a character.
  const rest = Buffer.from('o ü\nthree\n');
  fs.appendFileSync(file, rest.subarray(0, 3));
  expect(lines()).toBe('');
  fs.appendFileSync(file, rest.subarray(3));
  expect(lines()).toBe('two ü\nthree\n');
  // What was read is not looked at again.
  fs.writeFileSync(file, `${'-'.repeat(fs.statSync(file).size)}four\n`);
  expect(lines()).toBe('four\n');
});
