/** What ggml was asked to hold is given back: contexts, buffers and allocators are counted over many openings and tokens. */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openLibrary, type Library } from '../../../../backend/ggml/library.ts';
import { libraryFolder } from '../../../../backend/ggml/packages.ts';
import { openModel } from '../../../../backend/model/open.ts';
import { openFeatureModel, openExitScorer, openStagedModel } from '../../../../backend/runtime/open.ts';
import { decodeAll, plainRequest } from '../../../support/decoding.ts';
import { fixtures } from '../../../support/golden.ts';
import { copiedExits, tinyModel } from '../../../support/models.ts';

const pairs = [
  ['init', 'free'],
  ['newBuffer', 'freeBuffer'],
  ['allocate', 'freeBuffer'],
  ['newAllocator', 'freeAllocator'],
] as const;

/** Handles that are open, by what made them. */
function counted(library: Library): () => Record<string, number> {
  const open = new Map<unknown, string>();
  const functions = library as unknown as Record<string, (...given: unknown[]) => unknown>;
  for (const name of new Set(pairs.map(([make]) => make))) {
    const make = functions[name]!;
    functions[name] = (...given) => {
      const handle = make(...given);
      if (handle !== null) open.set(handle, name);
      return handle;
    };
  }
  for (const name of new Set(pairs.map(([, free]) => free))) {
    const free = functions[name]!;
    functions[name] = (handle) => {
      open.delete(handle);
      return free(handle);
    };
  }
  return () => {
    const all: Record<string, number> = {};
    for (const name of open.values()) all[name] = (all[name] ?? 0) + 1;
    return all;
  };
}

const specs = [
  { layer: 1, architecture: 'layer', head: { kind: 'own' } },
  { layer: 2, architecture: 'norm', head: { kind: 'own' } },
] as const;
const prompt = Array.from({ length: 40 }, (_, i) => (i * 7) % 60);

test('50 openings leave nothing behind', async () => {
  const library = counted(openLibrary(libraryFolder()!));
  const use = async (): Promise<void> => {
    const model = tinyModel('llama-untied');
    const exits = copiedExits(model, specs);
    const staged = await openStagedModel(model, exits, { arithmetic: 'int8' });
    await decodeAll(staged, plainRequest([prompt, prompt.slice(3)], 6));
    await staged.dispose();
    const cut = { layer: model.spec.layers.length, at: 'end' } as const;
    const features = await openFeatureModel(model, [cut], { arithmetic: 'int8-many' });
    const [stream] = await features.features(Int32Array.from(prompt), 1, prompt.length);
    const scorer = await openExitScorer(model, null);
    await scorer.score(stream!, prompt, 1, prompt.length);
    await scorer.dispose();
    await features.dispose();
    model.close();
  };
  await use();
  const first = library();
  for (let i = 1; i < 50; i++) await use();
  expect(library()).toEqual(first);
}, 240_000);

test('thousands of tokens keep no more than the graphs of their last shapes', async () => {
  const library = counted(openLibrary(libraryFolder()!));
  const model = openModel(join(fixtures, 'gguf', 'llama-q4_k.gguf'));
  const staged = await openStagedModel(model, copiedExits(model, []), { arithmetic: 'int8' });
  const settled: number[] = [];
  for (let text = 0; text < 12; text++) {
    await decodeAll(staged, plainRequest([prompt, prompt.slice(1), prompt.slice(2)], 100));
    settled.push(Object.values(library()).reduce((a, b) => a + b, 0));
  }
  expect(settled.at(-1)).toBe(settled[1]);
  await staged.dispose();
  expect(library()).toEqual({});
  model.close();
}, 120_000);

test('rows that end give their room back', async () => {
  const library = openLibrary(libraryFolder()!);
  const model = tinyModel('llama-untied');
  const staged = await openStagedModel(model, copiedExits(model, specs));
  const before = { ...library };
  const held = new Map<unknown, number>();
  library.allocate = (...given) => {
    const buffer = before.allocate(...given);
    if (buffer !== null) held.set(buffer, library.bufferSize(buffer));
    return buffer;
  };
  library.freeBuffer = (buffer) => {
    held.delete(buffer);
    before.freeBuffer(buffer);
  };
  const bytes = (): number => [...held.values()].reduce((a, b) => a + b, 0);
  const slots = staged.openSlots(8);
  const ofEight = bytes();
  slots.arrange([0]);
  expect(bytes()).toBeLessThan(ofEight / 7);
  slots.arrange([0, null]);
  slots.enter(0, Array<number>(300).fill(7));
  slots.truncate(0, 3);
  slots.arrange([0]);
  expect(bytes()).toBeLessThan(ofEight / 7);
  Object.assign(library, before);
  slots.dispose();
  await staged.dispose();
  model.close();
});
