/** Whether a model gives a token the same bits however its passes are cut. */
import type { Slots, StagedModel } from '../../backend/runtime/staged-model.ts';

const newTokens = 16;

async function pass(slots: Slots, ids: readonly number[]): Promise<Float32Array> {
  slots.enter(0, ids);
  await slots.run(0, [ids.length]);
  const [said] = await slots.read(0, [0], [ids.length], { logits: true });
  return said!.logits!;
}

/**
 * The logits of 16 tokens after each number of others, one a pass, against passes of 2, 5 and 16: those contexts and sizes where a
 * bit differs, as `context/size`.
 */
export async function differingPasses(staged: StagedModel, contexts: readonly number[]): Promise<string[]> {
  const ids = Array.from({ length: Math.max(...contexts) + newTokens }, (_, i) => (i * 31 + 7) % 60);
  const slots = staged.openSlots(1);
  const differing: string[] = [];
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
      if (!together.every((value, i) => Object.is(value, alone[i]))) differing.push(`${context}/${size}`);
    }
    slots.truncate(0, context);
  }
  slots.dispose();
  return differing;
}
