/** What a person is told before exits learn from a backbone that ggml's absence makes too round. */
import { expect, test, vi } from 'vitest';
import type { ModelSpec } from '../../../backend/model/spec.ts';
import { roundingWarning, windowOptions } from '../../../backend/recipes/backbone.ts';
import { tinySpec } from '../tuning/fakes.ts';

let packages: string | null = 'koffi';
vi.mock('../../../backend/ggml/probe.ts', () => ({
  probeGgml: () => ({ problem: 'the optional package koffi is not installed' }),
  ggmlPackages: () => packages,
}));

const large: ModelSpec = { ...tinySpec, vocabulary: 128_256, hidden: 8192 };
const placement = { named: false, warn: () => {}, name: 'cpu', share: null };
const warned = (spec: ModelSpec, precision: 'fast' | 'exact'): string | null =>
  roundingWarning({ name: 'it', spec }, { placement, options: windowOptions({ precision, threads: 0 }) });

test('a model of a billion numbers in rows of 8 bits is warned of, with the ways out', () => {
  expect(warned(large, 'fast')).toBe(
    'Without ggml it is rounded to rows of 8 bits, too round for a model of its size: its exits become much worse. Install koffi (early-exit doctor), or take --backbone-precision exact, which is slower.',
  );
  packages = null;
  expect(warned(large, 'fast')).toMatch(/much worse\. Take --backbone-precision exact/);
});

test('a smaller one is not, nor exact arithmetic', () => {
  expect(warned(tinySpec, 'fast')).toBeNull();
  expect(warned(large, 'exact')).toBeNull();
});
