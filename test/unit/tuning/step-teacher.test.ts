/** The final exit's whole head reads each window once. */
import { expect, test } from 'vitest';
import { rememberedSums, surpriseAt } from '../../../backend/tuning/step-teacher.ts';
import type { StepBatch } from '../../../backend/features/features.ts';

const tokens = 4;
/** Of windows whose final states, of one number, are ten times their index plus the position. */
const batchOf = (windows: readonly number[], named = true): StepBatch => ({
  batch: windows.length,
  tokens,
  ...(named && { windows }),
  features: new Map(),
  targets: Int32Array.from(windows.flatMap(() => [7, 8, -1, 9])),
  final: Float32Array.from(windows.flatMap((window) => [0, 1, 2, 3].map((at) => 10 * window + at))),
});

function counted(): { sumsOf: ReturnType<typeof rememberedSums>; seen: number[] } {
  const seen: number[] = [];
  const sumsOf = rememberedSums(async (final, targets) => {
    seen.push(final[0]! / 10);
    return { logSum: final.map((x) => x + 0.5), surprise: Float32Array.from(targets, (id) => id / 2) };
  });
  return { sumsOf, seen };
}

test('windows that were read before, in whatever batch, are not read again', async () => {
  const { sumsOf, seen } = counted();
  const first = await sumsOf(batchOf([3, 1]));
  expect([...first.logSum]).toEqual([30.5, 31.5, 32.5, 33.5, 10.5, 11.5, 12.5, 13.5]);
  const second = await sumsOf(batchOf([1, 2]));
  expect([...second.logSum]).toEqual([10.5, 11.5, 12.5, 13.5, 20.5, 21.5, 22.5, 23.5]);
  expect(seen).toEqual([3, 1, 2]);
  await sumsOf(batchOf([1, 2], false));
  expect(seen).toEqual([3, 1, 2, 1, 2]);
});

test('positions without a target do not surprise the final exit', async () => {
  const batch = batchOf([0]);
  expect(surpriseAt(await counted().sumsOf(batch), batch.targets)).toBe(3.5 + 4 + 4.5);
});
