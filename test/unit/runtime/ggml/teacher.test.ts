/** What the final exit's whole head says of known text in ggml equals plain loops of 64 bits. */
import { describe, expect, test } from 'vitest';
import { openTeacher } from '../../../../backend/runtime/open.ts';
import { plainTeacher } from '../../../support/teacher.ts';
import { numbers } from '../../autodiff/numbers.ts';
import { tiny } from '../../tuning/steps.ts';

/** More than are read at once. */
const positions = 150;

// Plain; a soft cap; a bias on the output; a head of its own.
describe.each(['llama-tied', 'gemma2', 'phi', 'llama-untied'])('%s', (family) => {
  const model = tiny(family);
  const { hidden, vocabulary } = model.spec;
  const lists = [[3, 5, 40, 7], Array.from({ length: vocabulary - 1 }, (_, id) => id)];
  const final = numbers(positions * hidden, 4).map((x) => 4 * x);
  const targets = Int32Array.from(numbers(positions, 5), (x, i) =>
    i % 7 === 3 ? -1 : Math.floor(((x + 1) / 2) * vocabulary),
  );

  test.each([
    ['float32', 1e-4],
    ['int8-many', 0.1],
  ] as const)('%s', async (arithmetic, tolerance) => {
    const teacher = await openTeacher(model, lists, { arithmetic });
    const [found, wanted] = [
      await teacher.teach(final, targets),
      await plainTeacher(model, lists).teach(final, targets),
    ];
    await teacher.dispose();
    const far = (a: Float32Array, b: Float32Array): number => Math.max(...a.map((x, i) => Math.abs(x - b[i]!)));
    expect(far(found.surprise, wanted.surprise)).toBeLessThan(tolerance);
    for (const i of lists.keys()) expect(far(found.shares[i]!, wanted.shares[i]!)).toBeLessThan(tolerance);
  });
});
