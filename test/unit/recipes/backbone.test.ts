/** What a person is told before exits learn from a backbone that ggml's absence makes too round; and where its states are kept. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test, vi } from 'vitest';
import type { Windows } from '../../../backend/features/features.ts';
import { packageVersion } from '../../../backend/ggml/packages.ts';
import type { Gpu } from '../../../backend/devices/gpus.ts';
import type { ModelSpec } from '../../../backend/model/spec.ts';
import { backboneKey, featureCache, roundingWarning, windowOptions } from '../../../backend/recipes/backbone.ts';
import { tinyModel } from '../../support/models.ts';
import { tinySpec } from '../tuning/fakes.ts';

let missing: string | null = '@early-exit/linux-x64';
vi.mock('../../../backend/ggml/probe.ts', () => ({
  probeGgml: () => ({ problem: 'the package @early-exit/linux-x64 is not installed' }),
  ggmlPackage: () => missing,
}));

const large: ModelSpec = { ...tinySpec, vocabulary: 128_256, hidden: 8192 };
const placement = { named: false, warn: () => {}, name: 'cpu', share: null };
const warned = (spec: ModelSpec, precision: 'fast' | 'exact'): string | null =>
  roundingWarning({ name: 'it', spec }, { placement, options: windowOptions({ precision, threads: 0 }) });

test('a model of a billion numbers in rows of 8 bits is warned of, with the ways out', () => {
  expect(warned(large, 'fast')).toBe(
    'Without ggml it is rounded to rows of 8 bits, too round for a model of its size: its exits become much worse. Install @early-exit/linux-x64 (early-exit doctor), or take --backbone-precision exact, which is slower.',
  );
  missing = null;
  expect(warned(large, 'fast')).toMatch(/much worse\. Take --backbone-precision exact/);
});

test('a smaller one is not, nor exact arithmetic', () => {
  expect(warned(tinySpec, 'fast')).toBeNull();
  expect(warned(large, 'exact')).toBeNull();
});

const root = mkdtempSync(join(tmpdir(), 'early-exit-'));
process.env['EARLY_EXIT_CACHE'] = root;
afterAll(() => rmSync(root, { recursive: true }));

const folderOf = (spec: ModelSpec): string => {
  const windows: Windows = { count: 1, tokens: 4, hash: 'text', window: () => expect.unreachable() };
  const options = windowOptions({ precision: 'exact', threads: 0 });
  const cache = featureCache(spec, 'weights', windows, { placement, options });
  cache.close();
  return cache.directory;
};

test('states are kept for a configuration: the same weights compute otherwise under another', () => {
  const model = tinyModel('llama-rope3');
  const { spec } = model;
  model.close();
  const [rope] = spec.layers.map((layer) => layer.rope!);
  const slower = { ...rope!, inverseFrequencies: rope!.inverseFrequencies.map((frequency) => frequency / 8) };
  const other = { ...spec, layers: spec.layers.map((layer) => ({ ...layer, rope: slower })) };
  expect(folderOf(structuredClone(spec))).toBe(folderOf(spec));
  expect(folderOf(other)).not.toBe(folderOf(spec));
});

test('and for the version of ggml, and the layers that a card computes', () => {
  const options = windowOptions({ precision: 'fast', threads: 0 });
  const gpu = { name: 'a card' } as Gpu;
  const key = (layers: number | null): string =>
    backboneKey(tinySpec, 'weights', {
      placement: { ...placement, share: layers === null ? null : { gpu, layers } },
      options,
    });
  expect(new Set([null, 1, 2].map(key)).size).toBe(3);
  expect(key(null)).toContain(packageVersion);
});
