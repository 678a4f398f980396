import { expect, it } from 'vitest';
import { runTitle } from '../../../../extension/runs/run-title.ts';

const parts = { model: 'typescript-5m', exits: null, preset: 'quick', steps: null, minutes: null, data: 'my-app' };

it('tells model, exits, length and data of a run', () => {
  expect(runTitle(parts, [])).toBe('typescript-5m · 3 exits · quick · my-app');
  expect(runTitle({ ...parts, minutes: 2.5 }, [])).toBe('typescript-5m · 3 exits · 2.5 minutes · my-app');
  expect(runTitle({ ...parts, exits: '6:norm', steps: 1, data: 'src/**/*.ts' }, [])).toBe(
    'typescript-5m · 6:norm · 1 step · src/**/*.ts',
  );
});

it('numbers runs that would be called the same', () => {
  const first = runTitle(parts, []);
  const second = runTitle(parts, [first]);
  expect(second).toBe(`${first} (2)`);
  expect(runTitle(parts, [second, first])).toBe(`${first} (3)`);
});
