/** The final exit's whole head reads each window once. */
import { expect, test } from 'vitest';
import type { StepBatch } from '../../../../backend/features/features.ts';
import { rememberedTeaching, surpriseAt } from '../../../../backend/tuning/step/teacher.ts';
import type { Teach } from '../../../../backend/tuning/step/types.ts';

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

function counted(): { teach: Teach; seen: number[] } {
  const seen: number[] = [];
  const teach = rememberedTeaching(
    {
      async teach(final, targets) {
        seen.push(final[0]! / 10);
        const shares = [Float32Array.from({ length: 8 }, (_, i) => final[i >> 1]! + 0.5 * (i % 2))];
        return { surprise: Float32Array.from(targets, (id) => id / 2), shares };
      },
    },
    1,
  );
  return { teach, seen };
}

test('windows that were read before, in whatever batch, are not read again', async () => {
  const { teach, seen } = counted();
  const first = await teach(batchOf([3, 1]));
  expect([...first.shares[0]!]).toEqual([
    ...[30, 30.5, 31, 31.5, 32, 32.5, 33, 33.5],
    ...[10, 10.5, 11, 11.5, 12, 12.5, 13, 13.5],
  ]);
  const second = await teach(batchOf([1, 2]));
  expect(second.shares[0]!.slice(0, 8)).toEqual(first.shares[0]!.slice(8));
  expect(seen).toEqual([3, 1, 2]);
  await teach(batchOf([1, 2], false));
  expect(seen).toEqual([3, 1, 2, 1, 2]);
});

test('a window without targets, as fills a batch, is not read', async () => {
  const { teach, seen } = counted();
  const batch = batchOf([3, 1], false);
  batch.targets.fill(-1, tokens);
  const { surprise } = await teach(batch);
  expect([...surprise]).toEqual([3.5, 4, -0.5, 4.5, 0, 0, 0, 0]);
  expect(seen).toEqual([3]);
});

test('positions without a target do not surprise the final exit', async () => {
  const batch = batchOf([0]);
  expect(surpriseAt(await counted().teach(batch), batch.targets)).toBe(3.5 + 4 + 4.5);
});
