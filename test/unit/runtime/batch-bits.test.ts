/** A sequence of a batch has the bits it has alone: rounding to 8 bits would make another token of a last bit. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openKvCache } from '../../../backend/decoding/cache/kv-cache.ts';
import { openModel } from '../../../backend/model/open.ts';
import { openStagedModel } from '../../../backend/runtime/open.ts';
import type { StagedModel } from '../../../backend/runtime/staged-model.ts';
import { fixtures } from '../../support/golden.ts';

/** All of them whose positions are not a table of 64. */
const cases = [
  ...readdirSync(join(fixtures, 'gguf')).filter((file) => file.endsWith('.gguf')),
  ...readdirSync(join(fixtures, 'tiny')),
].flatMap((name) => {
  const file = join(fixtures, name.endsWith('.gguf') ? 'gguf' : 'tiny', name);
  const model = openModel(file);
  const isLong = !model.spec.learnedPositions;
  model.close();
  return isLong ? (['float32', 'int8'] as const).map((arithmetic) => ({ name, file, arithmetic })) : [];
});

test('all but one of the models are among them', () => expect(cases.length).toBe(102));

/** Prompts of these lengths, and how many tokens each row takes in every later pass. */
const prompts = [3, 61, 17, 70];
const passes = [
  [1, 1, 1, 1],
  [1, 4, 2, 1],
  [0, 1, 3, 1],
  [1, 0, 2, 0],
  [2, 1, 1, 6],
];

/** What the final exit says of the last token of each row after each pass. */
async function logits(model: StagedModel, rows: readonly number[]): Promise<Float32Array[][]> {
  const cache = openKvCache(model, rows.length);
  const all: Float32Array[][] = rows.map(() => []);
  for (const counts of [prompts, ...passes]) {
    const busy = rows.flatMap((row, r) => (counts[row]! > 0 ? [r] : []));
    for (const r of busy) {
      const from = cache.position(r);
      const ids = Array.from({ length: counts[rows[r]!]! }, (_, i) => (7 * (from + i) + 13 * rows[r]!) % 64);
      cache.enter(r, ids);
    }
    if (busy.length === 0) continue;
    await cache.advance(model.stages.length, busy);
    const said = await cache.read(
      model.exits.length - 1,
      busy,
      busy.map(() => 1),
      { logits: true },
    );
    for (const [i, r] of busy.entries()) all[r]!.push(said[i]!.logits!.slice());
  }
  return all;
}

test.each(cases)('$name, $arithmetic', async ({ file, arithmetic }) => {
  const model = openModel(file);
  const staged = await openStagedModel(model, undefined, { arithmetic });
  const batch = await logits(staged, [0, 1, 2, 3]);
  for (const row of prompts.keys()) expect(batch[row]).toEqual((await logits(staged, [row]))[0]);
  await staged.dispose();
  model.close();
});

test('rows of a large batch that stand apart from each other', async () => {
  const model = openModel(join(fixtures, 'tiny/llama-untied'));
  const staged = await openStagedModel(model, undefined, { arithmetic: 'int8' });
  const cache = openKvCache(staged, 32);
  const busy = Array.from({ length: 16 }, (_, i) => 2 * i);
  const idsOf = (row: number): number[] => Array.from({ length: 5 }, (_, i) => (7 * i + 13 * row) % 64);
  for (const row of busy) cache.enter(row, idsOf(row));
  const own = cache.of(busy);
  const all = [...busy.keys()];
  const said = async (of: typeof cache, rows: readonly number[]): Promise<Float32Array[]> => {
    await of.advance(staged.stages.length, rows);
    const read = await of.read(staged.exits.length - 1, rows, Array<number>(rows.length).fill(1), { logits: true });
    return read.map(({ logits }) => logits!.slice());
  };
  const together = await said(own, all);
  const alone = openKvCache(staged, 1);
  for (const [i, row] of busy.entries()) {
    alone.truncate(0, 0);
    alone.enter(0, idsOf(row));
    expect(together[i]).toEqual((await said(alone, [0]))[0]);
  }
  await staged.dispose();
  model.close();
});
