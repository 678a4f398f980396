/** A token has the same bits in passes of 1 to 16, whatever stands before it: drafts are verified by that. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openModel } from '../../../backend/model/open.ts';
import { noExits, openStagedModel } from '../../../backend/runtime/open.ts';
import { fixtures } from '../../support/golden.ts';
import { differingPasses } from '../../support/pass-bits.ts';

const files = [
  ...readdirSync(join(fixtures, 'gguf'))
    .filter((name) => name.endsWith('.gguf'))
    .map((name) => join('gguf', name)),
  ...['llama-untied', 'mistral', 'qwen3', 'gpt_neox', 'qwen3_moe', 'qwen2_moe', 'gpt_oss'].map((name) =>
    join('tiny', name),
  ),
];
/** How weights are stored and multiplied says nothing of attention over many keys, nor do experts: some files stand for all of them. */
function contextsOf(file: string, arithmetic: 'float32' | 'int8'): number[] {
  const stands = arithmetic === 'float32' || /llama-q4_k\.|llama-untied/.test(file);
  return !stands ? [100] : file.includes('moe') ? [100, 700] : [100, 700, 3000];
}

describe('passes', () => {
  test.each(files)('%s', async (file) => {
    const model = openModel(join(fixtures, file));
    const isStored = file.endsWith('.gguf');
    for (const arithmetic of isStored ? (['int8'] as const) : (['float32', 'int8'] as const)) {
      const staged = await openStagedModel(model, noExits, { arithmetic });
      expect(await differingPasses(staged, contextsOf(file, arithmetic))).toEqual([]);
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
    const staged = await openStagedModel(model, noExits, { arithmetic });
    const slots = staged.openSlots(1);
    const before = 70;
    const ids = Array.from({ length: before + 300 }, (_, i) => (i * 31 + 7) % 60);
    // Long enough for tiles; for fours alone.
    for (const [prompt, sizes] of [
      [300, [300, 101, 70, 7]],
      [41, [41, 17, 3]],
    ] as const) {
      const logits: Float32Array[] = [];
      for (const size of sizes) {
        slots.truncate(0, 0);
        slots.enter(0, ids.slice(0, before));
        slots.enter(0, ids.slice(before, before + prompt));
        await slots.run(0, [before]);
        for (let done = 0; done < prompt; done += size) await slots.run(0, [Math.min(size, prompt - done)]);
        const [said] = await slots.read(0, [0], [prompt], { logits: true });
        logits.push(said!.logits!);
      }
      for (const said of logits.slice(1)) expect(said).toEqual(logits[0]);
    }
    slots.dispose();
    await staged.dispose();
    model.close();
  });
});
