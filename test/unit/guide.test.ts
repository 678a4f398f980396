/** The guide is what its kept runs say. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { format, resolveConfig } from 'prettier';
import { expect, it } from 'vitest';
import { guide } from '../../scripts/guide.ts';

const root = path.resolve(import.meta.dirname, '../..');
const page = path.join(root, 'docs/guide.md');

it('docs/guide.md is made of the runs in docs/study (npm run docs)', async () => {
  const made = await format(guide(root), { ...(await resolveConfig(page)), filepath: page });
  expect(readFileSync(page, 'utf8')).toBe(made);
});

it('every kept run answers a question', () => {
  const kept = readdirSync(path.join(root, 'docs/study')).filter((name) => name.endsWith('.json'));
  expect(kept.length).toBeGreaterThan(0);
  const sections = readFileSync(page, 'utf8').match(/^## /gm)?.length;
  expect(sections).toBe(kept.length);
});
