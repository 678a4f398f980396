/** What an exit's memory fills, and what the tokens behind say then, against a reference of its own (fixtures/golden/memory/make.py). */
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { openKvCache, type KvCache } from '../../backend/decoding/cache/kv-cache.ts';
import { openModel } from '../../backend/model/open.ts';
import { openStagedModel } from '../../backend/runtime/open.ts';
import { trunkLength } from '../../backend/runtime/staged-model.ts';
import { fixtures, maxDifference, readGolden } from '../support/golden.ts';
import { copiedExits, withMemories } from '../support/models.ts';

interface MemoryGolden {
  /** Exit layer. */
  readonly exit: number;
  /** Positions of the tokens that leave there. */
  readonly left: readonly number[];
  readonly ids: readonly number[];
  /** Of every position at each layer behind the exit: keys as they are attended to, and values. */
  readonly entries: readonly { layer: number; position: number; key: number[]; value: number[] }[];
  /** What the final exit says of the last token. */
  readonly logits: readonly number[];
}

/** Heads with norms, biases, a window on every layer, LayerNorm with a window. */
const families = ['qwen3', 'qwen2', 'mistral', 'starcoder2'];

/** Keys and values are of 32 bits here; the reference computes in 64. */
const tolerance = 1e-4;

describe.each(families)('%s, whose map is the layers’ own projection', async (family) => {
  const golden = readGolden<MemoryGolden>('memory', `${family}.json`);
  const model = openModel(join(fixtures, 'tiny', family));
  const exits = copiedExits(model, [{ layer: golden.exit, architecture: 'norm', head: { kind: 'own' } }]);
  const staged = await openStagedModel(model, withMemories(model, exits));
  afterAll(async () => {
    await staged.dispose();
    model.close();
  });
  const trunk = trunkLength(staged);
  const width = model.spec.kvHeads * model.spec.headDimensions;

  const written = async (left: readonly number[]): Promise<KvCache> => {
    const cache = openKvCache(staged, 1);
    for (const [position, id] of golden.ids.entries()) {
      cache.enter(0, [id]);
      if (left.includes(position)) {
        await cache.advance(1, [0]);
        await cache.leave(0, [{ row: 0, position }]);
      } else await cache.advance(trunk, [0]);
    }
    return cache;
  };

  test('every layer holds what the reference holds, and the token behind says the same', async () => {
    const cache = await written(golden.left);
    for (const { layer, position, key, value } of golden.entries) {
      const rows = cache.pastRows(staged.stages[1]!.slots[layer - golden.exit - 1]!, 0);
      const at = [position * width, (position + 1) * width] as const;
      expect(maxDifference(rows.key.subarray(...at), key)).toBeLessThan(tolerance);
      expect(maxDifference(rows.value.subarray(...at), value)).toBeLessThan(tolerance);
    }
    const [said] = await cache.read(1, [0], [1], { logits: true });
    expect(maxDifference(said!.logits!, golden.logits)).toBeLessThan(tolerance);
    cache.dispose();
  });

  test('of the first layer behind the exit that is what the layer itself computes', async () => {
    const [filled, exact] = [await written(golden.left.slice(0, 1)), await written([])];
    const slot = staged.stages[1]!.slots[0]!;
    const [a, b] = [filled.pastRows(slot, 0), exact.pastRows(slot, 0)];
    const upTo = (golden.left[0]! + 1) * width;
    expect(maxDifference(a.key.subarray(0, upTo), b.key.subarray(0, upTo))).toBeLessThan(2e-5);
    expect(maxDifference(a.value.subarray(0, upTo), b.value.subarray(0, upTo))).toBeLessThan(2e-5);
    for (const cache of [filled, exact]) cache.dispose();
  });
});
