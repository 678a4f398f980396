/** Only the last token of a prompt is read: it has the same bits if no other token is computed behind the last attention. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openKvCache } from '../../../backend/decoding/cache/kv-cache.ts';
import { openModel } from '../../../backend/model/open.ts';
import { noExits, openStagedModel } from '../../../backend/runtime/open.ts';
import { fixtures } from '../../support/golden.ts';
import { copiedExits, tinyModel } from '../../support/models.ts';

// The latter are long enough to be summed in tiles.
const lengths = [
  [40, 33],
  [90, 75],
];
const families = readdirSync(join(fixtures, 'tiny'));
const models = [
  ...families.map((family) => join('tiny', family)),
  ...['llama-q4_k', 'llama-q2_k', 'llama-q4_0'].map((name) => join('gguf', `${name}.gguf`)),
];

// GPT-2's positions end before.
const isTooLong = (path: string, [longest]: number[]): boolean => path.endsWith('gpt2') && longest! > 60;
const cases = models.flatMap((path) =>
  lengths.filter((some) => !isTooLong(path, some)).map((some) => [path, some] as const),
);

test.each(cases)('%s, %j', async (path, some) => {
  const prompts = some.map((length) => Array.from({ length }, (_, i) => (11 * i + length) % 60));
  const model = openModel(join(fixtures, path));
  const specs = [{ layer: 1, architecture: 'mlp', head: { kind: 'shared' } } as const];
  for (const exits of [noExits, copiedExits(model, specs)]) {
    const staged = await openStagedModel(model, exits, { arithmetic: 'int8' });
    const final = staged.exits.length - 1;
    const readouts = [];
    for (const lastOnly of [true, false]) {
      const cache = openKvCache(staged, prompts.length);
      const hear = async () => cache.read(final, [0, 1], [1, 1], { logits: true });
      for (const [row, prompt] of prompts.entries()) cache.enter(row, prompt);
      await cache.advance(staged.exits[final]!.stages, [0, 1], { lastOnly });
      const first = await hear();
      const two = cache.read(final, [0], [2], { logits: false });
      await (lastOnly ? expect(two).rejects.toThrow(RangeError) : expect(two).resolves.toHaveLength(1));
      for (const row of [0, 1]) cache.enter(row, [7, 8, 9]);
      await cache.advance(staged.exits[final]!.stages, [0, 1]);
      // What came later is there, and what was taken back counts no more.
      const later = await cache.read(final, [0, 1], [3, 3], { logits: true });
      for (const row of [0, 1]) cache.truncate(row, 20);
      for (const row of [0, 1]) cache.enter(row, [5, 6]);
      await cache.advance(staged.exits[final]!.stages, [0, 1]);
      readouts.push([first, later, await cache.read(final, [0, 1], [2, 2], { logits: true })]);
      cache.dispose();
    }
    expect(readouts[0]).toEqual(readouts[1]);
    await staged.dispose();
  }
  model.close();
});

test('a branch behind the last layer attends to every token', async () => {
  const model = tinyModel();
  const exit = { layer: model.spec.layers.length, architecture: 'layer', head: { kind: 'shared' } } as const;
  const staged = await openStagedModel(model, copiedExits(model, [exit]), { arithmetic: 'int8' });
  const readouts = [];
  for (const lastOnly of [true, false]) {
    const cache = openKvCache(staged, 1);
    cache.enter(
      0,
      Array.from({ length: 40 }, (_, i) => (11 * i) % 60),
    );
    await cache.advance(staged.exits[0]!.stages, [0], { lastOnly });
    readouts.push(await cache.read(0, [0], [1], { logits: true }));
    cache.dispose();
  }
  expect(readouts[0]).toEqual(readouts[1]);
  await staged.dispose();
  model.close();
});
