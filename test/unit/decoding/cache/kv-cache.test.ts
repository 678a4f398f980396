/** The deferred cache against the plain one: whatever tokens skipped, the rows that arrive later are the same. */
import { afterAll, describe, expect, test } from 'vitest';
import { openKvCache } from '../../../../backend/decoding/cache/kv-cache.ts';
import { seededRandom } from '../../../../backend/decoding/sampling/random.ts';
import type { ExitSpec } from '../../../../backend/exits/spec.ts';
import { openStagedModel } from '../../../../backend/runtime/open.ts';
import { trunkLength } from '../../../../backend/runtime/staged-model.ts';
import { maxDifference } from '../../../support/golden.ts';
import { copiedExits, tinyModel } from '../../../support/models.ts';

const own = { kind: 'own' } as const;
const specs: ExitSpec[] = [
  { layer: 1, architecture: 'layer', head: own },
  { layer: 2, architecture: 'mlp', head: own },
  { layer: 3, architecture: 'norm', head: own },
];

describe.each(['llama-untied', 'gpt_neox', 'mistral', 'olmo2', 'qwen3_moe', 'gpt_oss'])('%s', async (family) => {
  const model = tinyModel(family);
  const staged = await openStagedModel(model, copiedExits(model, specs));
  afterAll(async () => {
    await staged.dispose();
    model.close();
  });
  const random = seededRandom(3);
  const newIds = (n: number): number[] => Array.from({ length: n }, () => Math.floor(random() * model.spec.vocabulary));
  const allStages = trunkLength(staged);
  const slots = staged.stages.flatMap(({ slots: own }) => own);

  /** Runs tokens one by one, each only as deep as `depths` says, then everything that waits. */
  async function deferred(sequences: number[][], depth: (row: number, t: number) => number) {
    const cache = openKvCache(staged, sequences.length);
    for (let t = 0; t < sequences[0]!.length; t++) {
      for (const [row, ids] of sequences.entries()) cache.enter(row, [ids[t]!]);
      for (let s = 1; s <= allStages; s++) {
        const rows = [...sequences.keys()].filter((row) => depth(row, t) >= s);
        if (rows.length === 0) continue;
        await cache.advance(s, rows);
        if (s === 1)
          await cache.read(
            0,
            rows,
            rows.map(() => 1),
            { logits: false },
          );
      }
    }
    await cache.advance(allStages, [...sequences.keys()]);
    await cache.read(
      0,
      [...sequences.keys()],
      sequences.map(() => 1),
      { logits: false },
    );
    return cache;
  }

  test('skipped layers that are run later fill the cache as if they had been run at once', async () => {
    const ids = newIds(40);
    const plain = await deferred([ids], () => allStages);
    const depths = ids.map(() => 1 + Math.floor(random() * allStages));
    const late = await deferred([ids], (_, t) => depths[t]!);
    for (const slot of slots) {
      const [a, b] = [plain.pastRows(slot, 0), late.pastRows(slot, 0)];
      expect(maxDifference(a.key, b.key)).toBeLessThan(1e-5);
      expect(maxDifference(a.value, b.value)).toBeLessThan(1e-5);
      expect(a.key.length).toBe(40 * model.spec.kvHeads * model.spec.headDimensions);
    }
  });

  test('rows of a batch that go to different depths fill their caches as each would alone', async () => {
    const sequences = [newIds(70), newIds(70), newIds(70)];
    const depths = sequences.map((ids) => ids.map(() => 1 + Math.floor(random() * allStages)));
    const batch = await deferred(sequences, (row, t) => depths[row]![t]!);
    for (const [row, ids] of sequences.entries()) {
      const alone = await deferred([ids], () => allStages);
      for (const slot of slots) {
        const [a, b] = [alone.pastRows(slot, 0), batch.pastRows(slot, row)];
        expect(maxDifference(a.key, b.key)).toBeLessThan(1e-5);
        expect(maxDifference(a.value, b.value)).toBeLessThan(1e-5);
      }
    }
  });

  test('tokens that are taken back leave no trace', async () => {
    const ids = newIds(24);
    const cache = openKvCache(staged, 1);
    cache.enter(0, ids.slice(0, 12));
    await cache.advance(2, [0]);
    cache.enter(0, newIds(6));
    await cache.advance(allStages, [0]);
    cache.truncate(0, 12);
    cache.enter(0, ids.slice(12));
    await cache.advance(allStages, [0]);
    const plain = openKvCache(staged, 1);
    plain.enter(0, ids);
    await plain.advance(allStages, [0]);
    for (const slot of staged.stages.slice(0, allStages).flatMap(({ slots: s }) => s)) {
      expect(maxDifference(plain.pastRows(slot, 0).key, cache.pastRows(slot, 0).key)).toBeLessThan(1e-5);
    }
  });

  test('rows that end leave the others as they were', async () => {
    const [a, b, c] = [newIds(20), newIds(20), newIds(20)];
    const cache = openKvCache(staged, 3);
    for (const [row, ids] of [a, b, c].entries()) cache.enter(row, ids.slice(0, 10));
    await cache.advance(1, [0, 1, 2]);
    cache.arrange([2, 0]);
    for (const [row, ids] of [c, a].entries()) cache.enter(row, ids.slice(10));
    await cache.advance(allStages, [0, 1]);
    cache.arrange([1]);
    const plain = openKvCache(staged, 1);
    plain.enter(0, a);
    await plain.advance(allStages, [0]);
    for (const slot of staged.stages.slice(0, allStages).flatMap(({ slots: s }) => s)) {
      expect(maxDifference(plain.pastRows(slot, 0).value, cache.pastRows(slot, 0).value)).toBeLessThan(1e-5);
    }
  });
});

test('stages that run together share the time by their layers', async () => {
  const model = tinyModel('llama-untied');
  const staged = await openStagedModel(model, copiedExits(model, [{ layer: 1, architecture: 'norm', head: own }]));
  const passes: (readonly [stage: number, tokens: number, milliseconds: number])[] = [];
  const cache = openKvCache(staged, 1, (...pass) => void passes.push(pass));
  cache.enter(0, [1, 2, 3]);
  await cache.advance(2, [0]);
  expect(passes.map(([stage, tokens]) => [stage, tokens])).toEqual([
    [0, 3],
    [1, 3],
  ]);
  expect(passes[1]![2] / passes[0]![2]).toBeCloseTo(model.spec.layers.length - 1);
  cache.dispose();
  await staged.dispose();
  model.close();
});
