/** The guide is what its kept runs say. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { format, resolveConfig } from 'prettier';
import { expect, it } from 'vitest';
import { architectures, guide } from '../../scripts/guide.ts';

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

it('two seeds show an order, and do not make a gap clear', () => {
  const group = (exit: string, agreement: number, seeds: number) => {
    const own = { mean: agreement, deviation: 0.001 };
    return { name: exit, seeds, exits: [{ exit, loss: own, agreement: own }], minutes: own };
  };
  const said = (seeds: number): string => {
    const groups = [group('6:lens', 0.4, seeds), group('6:layer', 0.6, seeds)];
    return architectures({ model: 'm', layers: 12, processor: 'p', options: {}, groups, finalLoss: 1 });
  };
  expect(said(2)).toContain('(60.0 ± 0.1 %), before `6:lens`');
  expect(said(2)).toContain('With 2 seeds each this is what was seen, and no proof of an order.');
  expect(said(3)).toContain('(60.0 ± 0.1 %), clearly before `6:lens`');
});
