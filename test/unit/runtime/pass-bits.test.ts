/** A token has the same bits in passes of 1 to 16, whatever stands before it: drafts are verified by that. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { libraryFolder } from '../../../backend/ggml/library.ts';
import { openModel } from '../../../backend/model/open.ts';
import { noExits, openStagedModel } from '../../../backend/runtime/open.ts';
import type { Slots } from '../../../backend/runtime/staged-model.ts';
import { fixtures } from '../../support/golden.ts';

const files = [
  ...readdirSync(join(fixtures, 'gguf'))
    .filter((name) => name.endsWith('.gguf'))
    .map((name) => join('gguf', name)),
  ...['llama-untied', 'mistral', 'qwen3', 'gpt_neox', 'qwen3_moe', 'qwen2_moe', 'gpt_oss'].map((name) =>
    join('tiny', name),
  ),
];
const contexts = [100, 700, 3000];
const newTokens = 16;

async function pass(slots: Slots, ids: readonly number[]): Promise<Float32Array> {
  slots.enter(0, ids);
  await slots.run(0, [ids.length]);
  const [said] = await slots.read(0, [0], [ids.length], { logits: true });
  return said!.logits!;
}

describe.skipIf(libraryFolder() === null)('in ggml', () => {
  test.each(files)('%s', async (file) => {
    const model = openModel(join(fixtures, file));
    const ids = Array.from({ length: Math.max(...contexts) + newTokens }, (_, i) => (i * 31 + 7) % 60);
    const isStored = file.endsWith('.gguf');
    for (const arithmetic of isStored ? (['int8'] as const) : (['float32', 'int8'] as const)) {
      const staged = await openStagedModel(model, noExits, { arithmetic, engine: 'ggml' });
      const slots = staged.openSlots(1);
      for (const context of contexts) {
        while (slots.entered(0) < context) {
          const from = slots.entered(0);
          const part = ids.slice(from, Math.min(context, from + 512));
          slots.enter(0, part);
          await slots.run(0, [part.length]);
        }
        const next = ids.slice(context, context + newTokens);
        const alone: number[] = [];
        for (const id of next) alone.push(...(await pass(slots, [id])));
        for (const size of [2, 5, 16]) {
          slots.truncate(0, context);
          const together: number[] = [];
          for (let i = 0; i < newTokens; i += size) together.push(...(await pass(slots, next.slice(i, i + size))));
          expect(together.every((value, i) => Object.is(value, alone[i]))).toBe(true);
        }
        slots.truncate(0, context);
      }
      slots.dispose();
      await staged.dispose();
    }
    model.close();
  });

  test.each([
    ['gguf/llama-q4_k.gguf', 'int8'],
    ['gguf/gemma2-q8_0.gguf', 'int8'],
    ['tiny/qwen3', 'float32'],
  ] as const)('what came at once has the same bits however its passes are cut: %s', async (file, arithmetic) => {
    const model = openModel(join(fixtures, file));
    const staged = await openStagedModel(model, noExits, { arithmetic, engine: 'ggml' });
    const slots = staged.openSlots(1);
    const [before, prompt] = [70, 300];
    const ids = Array.from({ length: before + prompt }, (_, i) => (i * 31 + 7) % 60);
    const logits: Float32Array[] = [];
    for (const size of [prompt, 100, 7]) {
      slots.truncate(0, 0);
      slots.enter(0, ids.slice(0, before));
      slots.enter(0, ids.slice(before));
      await slots.run(0, [before]);
      for (let done = 0; done < prompt; done += size) await slots.run(0, [Math.min(size, prompt - done)]);
      const [said] = await slots.read(0, [0], [prompt], { logits: true });
      logits.push(said!.logits!);
    }
    expect(logits[1]).toEqual(logits[0]);
    expect(logits[2]).toEqual(logits[0]);
    slots.dispose();
    await staged.dispose();
    model.close();
  });
});
