/** What a server was given reaches the texts of its requests. */
import { expect, test } from 'vitest';
import { servedGeneration, servedName } from '../../../../backend/recipes/serving/options.ts';
import { optionTables, type ServeOptions } from '../../../../protocol/options/options.ts';

test('every option that serve shares with generate is taken over', () => {
  const shared = Object.keys(optionTables.serve).filter((name) => name in optionTables.generate);
  expect(shared).toContain('gpuLayers');
  const marked = Object.fromEntries(shared.map((name) => [name, `that of ${name}`]));
  expect(servedGeneration(marked as unknown as ServeOptions)).toMatchObject(marked);
});

test('a model is called by its file or repository, also where the cache of a hub calls its folder after a commit', () => {
  const name = (model: string, alias: string | null = null): string => servedName({ alias, model } as ServeOptions);
  expect(name('/models/small.gguf')).toBe('small');
  expect(name(`/cache/models--org--Small-135M/snapshots/${'0a'.repeat(20)}`)).toBe('Small-135M');
  expect(name('/models/small.gguf', 'mine')).toBe('mine');
});
