/** Where a backbone's states are kept. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import type { Windows } from '../../../../backend/features/features.ts';
import type { Placement } from '../../../../backend/devices/fallback.ts';
import { packageVersion } from '../../../../backend/ggml/packages.ts';
import type { Gpu } from '../../../../backend/devices/gpus.ts';
import type { ModelSpec } from '../../../../backend/model/spec.ts';
import { backboneKey, featureCache, windowOptions } from '../../../../backend/recipes/opening/backbone.ts';
import { tinyModel } from '../../../support/models.ts';
import { tinySpec } from '../../tuning/fakes.ts';

const placement = { named: false, warn: () => {}, name: 'cpu', share: null };
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

test('what the CPU computes after the card has failed is not kept as the card’s', () => {
  const at: Placement = { ...placement, share: { gpu: { name: 'a card' } as Gpu, layers: 1 } };
  const windows: Windows = { count: 2, tokens: 4, hash: 'text', window: () => expect.unreachable() };
  const options = windowOptions({ precision: 'exact', threads: 0 });
  const cache = featureCache(tinySpec, 'weights', windows, { placement: at, options });
  const write = (window: number): void => cache.write(new Map([[window, new Map([['2.end', new Float32Array(16)]])]]));
  write(0);
  at.share = null;
  write(1);
  expect([0, 1].map((window) => cache.has(window, '2.end'))).toEqual([true, false]);
  cache.close();
});
