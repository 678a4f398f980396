/** Stages that an exit's memory fills: against what the layers themselves compute, and what becomes of a row that is repaired. */
import { afterAll, describe, expect, test } from 'vitest';
import { openKvCache, type KvCache } from '../../../backend/decoding/cache/kv-cache.ts';
import { seededRandom } from '../../../backend/decoding/sampling/random.ts';
import type { ExitSpec } from '../../../backend/exits/spec.ts';
import { openStagedModel } from '../../../backend/runtime/open.ts';
import { keyStep, trunkLength } from '../../../backend/runtime/staged-model.ts';
import { maxDifference } from '../../support/golden.ts';
import { copiedExits, tinyModel, withMemories } from '../../support/models.ts';

const own = { kind: 'own' } as const;
const families = [
  'llama-bias',
  'qwen3',
  'gemma3_text',
  'gpt_neox',
  'olmo2',
  'cohere',
  'gpt2',
  'mistral',
  'phi3-longrope',
];

describe('in ggml', () => {
  describe.each(families)('%s', async (family) => {
    const model = tinyModel(family);
    const specs: ExitSpec[] = [
      { layer: 1, architecture: 'norm', head: own },
      { layer: 2, architecture: 'norm', head: own },
    ];
    const exits = withMemories(model, copiedExits(model, specs));
    const staged = await openStagedModel(model, exits);
    afterAll(async () => {
      await staged.dispose();
      model.close();
    });
    const trunk = trunkLength(staged);
    const width = model.spec.kvHeads * model.spec.headDimensions;
    const random = seededRandom(5);
    const newIds = (n: number): number[] =>
      Array.from({ length: n }, () => Math.floor(random() * model.spec.vocabulary));

    test('both exits remember', () => {
      expect(staged.exits.map(({ remembers }) => remembers)).toEqual([true, true, false]);
    });

    test("a copy's entries of the first layer left out are the layer's own", async () => {
      const ids = newIds(12);
      const [filled, plain] = [openKvCache(staged, 1), openKvCache(staged, 1)];
      for (const cache of [filled, plain]) {
        cache.enter(0, ids.slice(0, 8));
        await cache.advance(trunk, [0]);
        cache.enter(0, ids.slice(8));
        await cache.advance(1, [0]);
      }
      await filled.leave(
        0,
        [8, 9, 10, 11].map((position) => ({ row: 0, position })),
      );
      for (const cache of [filled, plain]) await cache.advance(trunk, [0]);
      const [slot] = staged.stages[1]!.slots;
      const [a, b] = [filled.pastRows(slot!, 0), plain.pastRows(slot!, 0)];
      expect(a.key.length).toBe(12 * width);
      expect(maxDifference(a.key, b.key)).toBeLessThan(2e-5);
      expect(maxDifference(a.value, b.value)).toBeLessThan(2e-5);
      // What lies deeper is another thing than what those layers compute.
      const last = staged.stages[trunk - 1]!.slots.at(-1)!;
      expect(maxDifference(filled.pastRows(last, 0).key, plain.pastRows(last, 0).key)).toBeGreaterThan(1e-4);
      filled.dispose();
      plain.dispose();
    });

    test('a token that goes on sees what was filled, whatever goes with it in a pass', async () => {
      const ids = newIds(14);
      const logitsOf = async (together: boolean): Promise<Float32Array> => {
        const cache = openKvCache(staged, 1);
        cache.enter(0, ids.slice(0, 8));
        await cache.advance(trunk, [0]);
        // The tokens at 9, 10 and 12 leave, the first two at different exits.
        const leave = async (position: number): Promise<void> => {
          if (position === 10) await cache.advance(2, [0]);
          await cache.leave(position === 10 ? 1 : 0, [{ row: 0, position }]);
        };
        if (together) {
          cache.enter(0, ids.slice(8));
          await cache.advance(1, [0]);
          await leave(9);
          await leave(12);
          await cache.advance(2, [0], { whole: [0] });
          await leave(10);
          await cache.advance(trunk, [0]);
        } else {
          for (let at = 8; at < 14; at++) {
            cache.enter(0, [ids[at]!]);
            await cache.advance(1, [0]);
            if ([9, 10, 12].includes(at)) await leave(at);
            else await cache.advance(trunk, [0]);
          }
        }
        const [result] = await cache.read(staged.exits.length - 1, [0], [1], { logits: true });
        cache.dispose();
        return result!.logits!;
      };
      const alone = await logitsOf(false);
      expect(maxDifference(alone, await logitsOf(true))).toBe(0);
    });

    /** Logits behind a text whose token before `at` left, after which `move` is called; `room`: positions that its row has from the start. */
    const logitsBehind = async (ids: readonly number[], at: number, room: number, move: (cache: KvCache) => void) => {
      const cache = openKvCache(staged, 1);
      cache.enter(0, newIds(room));
      cache.truncate(0, 0);
      cache.enter(0, ids.slice(0, at - 1));
      await cache.advance(trunk, [0]);
      cache.enter(0, ids.slice(at - 1, at));
      await cache.advance(1, [0]);
      await cache.leave(0, [{ row: 0, position: at - 1 }]);
      move(cache);
      cache.enter(0, ids.slice(at));
      await cache.advance(trunk, [0]);
      const [result] = await cache.read(staged.exits.length - 1, [0], [1], { logits: true });
      cache.dispose();
      return result!.logits!;
    };

    test('what a memory has filled goes along when another row joins', async () => {
      const ids = newIds(20);
      const alone = await logitsBehind(ids, 18, 1, () => {});
      expect(maxDifference(alone, await logitsBehind(ids, 18, 1, (cache) => cache.arrange([0, null])))).toBe(0);
    });

    // GPT-2 has as many positions as slots have at first.
    test.runIf(family !== 'gpt2')('what a memory has filled goes along when its row grows', async () => {
      const ids = newIds(keyStep + 2);
      const [grown, roomy] = [1, ids.length].map((room) => logitsBehind(ids, keyStep, room, () => {}));
      expect(maxDifference(await grown!, await roomy!)).toBe(0);
    });

    test('after any mixture of exits a repaired row has the bits of one that no memory ever filled', async () => {
      const ids = newIds(60);
      const [mixed, plain] = [openKvCache(staged, 2), openKvCache(staged, 2)];
      for (const row of [0, 1]) {
        for (let at = 0; at < ids.length;) {
          const count = Math.min(ids.length - at, 1 + Math.floor(3 * random()));
          for (const cache of [mixed, plain]) cache.enter(row, ids.slice(at, at + count));
          await plain.advance(trunk, [row]);
          const k = Math.floor(3 * random());
          await mixed.advance(k + 1, [row]);
          // Where some wait, they go on waiting.
          const places = Array.from({ length: count }, (_, i) => ({ row, position: at + i }));
          if (k < 2 && random() < 0.7) await mixed.leave(k, places);
          if (random() < 0.2) {
            const back = Math.max(at, at + count - 2);
            for (const cache of [mixed, plain]) cache.truncate(row, back);
            at = back;
          } else at += count;
          if (random() < 0.1) mixed.repair(row);
        }
      }
      for (const row of [0, 1]) mixed.repair(row);
      await mixed.advance(trunk, [0, 1]);
      await plain.advance(trunk, [0, 1]);
      for (const slot of staged.stages.flatMap(({ slots }) => slots))
        for (const row of [0, 1]) {
          const [a, b] = [mixed.pastRows(slot, row), plain.pastRows(slot, row)];
          expect(maxDifference(a.key, b.key)).toBe(0);
          expect(maxDifference(a.value, b.value)).toBe(0);
        }
      mixed.dispose();
      plain.dispose();
    });
  });

  test('a branch behind an exit, whose keys no map knows, leaves the exit without memory', async () => {
    const model = tinyModel();
    const specs: ExitSpec[] = [
      { layer: 1, architecture: 'norm', head: own },
      { layer: 2, architecture: 'layer', head: own },
      { layer: 3, architecture: 'mlp', head: own },
    ];
    const staged = await openStagedModel(model, withMemories(model, copiedExits(model, specs)));
    expect(staged.exits.map(({ remembers }) => remembers)).toEqual([false, true, true, false]);
    await staged.dispose();
    model.close();
  });
});
