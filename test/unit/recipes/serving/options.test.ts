/** What a server was given reaches the texts of its requests. */
import { expect, test } from 'vitest';
import { servedGeneration } from '../../../../backend/recipes/serving/options.ts';
import { optionTables, type ServeOptions } from '../../../../protocol/options.ts';

test('every option that serve shares with generate is taken over', () => {
  const shared = Object.keys(optionTables.serve).filter((name) => name in optionTables.generate);
  expect(shared).toContain('gpuLayers');
  const marked = Object.fromEntries(shared.map((name) => [name, `that of ${name}`]));
  expect(servedGeneration(marked as unknown as ServeOptions)).toMatchObject(marked);
});
