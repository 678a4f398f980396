/** Ridge regression towards a first guess, against plain loops and on problems whose answer is known. */
import { describe, expect, test } from 'vitest';
import {
  correction,
  corrections,
  emptySums,
  invert,
  solve,
  type Multiply,
  type RegressionSums,
} from '../../../backend/exits/ridge.ts';
import { numbers } from '../autodiff/numbers.ts';

const multiply = async (
  a: Float64Array,
  b: Float64Array,
  rows: number,
  inner: number,
  columns: number,
): Promise<Float64Array> => {
  const product = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++)
    for (let k = 0; k < inner; k++)
      for (let c = 0; c < columns; c++) product[i * columns + c]! += a[i * inner + k]! * b[k * columns + c]!;
  return product;
};

/** Tokens x `[tokens, size]` and what is left to say of them r `[tokens, columns]`. */
interface Tokens {
  readonly x: Float64Array;
  readonly r: Float64Array;
}

function sumsOf({ x, r }: Tokens, size: number, columns: number): RegressionSums {
  const sums = emptySums(size, columns);
  for (let t = 0; t < x.length / size; t++)
    for (let i = 0; i < size; i++) {
      for (let j = 0; j < size; j++) sums.xx[i * size + j]! += x[t * size + i]! * x[t * size + j]!;
      for (let c = 0; c < columns; c++) sums.xr[i * columns + c]! += x[t * size + i]! * r[t * columns + c]!;
    }
  return sums;
}

function errorOf({ x, r }: Tokens, delta: Float64Array, size: number, columns: number): number {
  let sum = 0;
  for (let t = 0; t < x.length / size; t++)
    for (let c = 0; c < columns; c++) {
      let left = r[t * columns + c]!;
      for (let i = 0; i < size; i++) left -= x[t * size + i]! * delta[i * columns + c]!;
      sum += left ** 2;
    }
  return sum / (x.length / size);
}

/** r = x·truth + noise. */
function tokensOf(
  count: number,
  truth: Float64Array,
  size: number,
  columns: number,
  noise: number,
  seed: number,
): Tokens {
  const x = Float64Array.from(numbers(count * size, seed));
  const r = Float64Array.from(numbers(count * columns, seed + 1), (value) => noise * value);
  for (let t = 0; t < count; t++)
    for (let i = 0; i < size; i++)
      for (let c = 0; c < columns; c++) r[t * columns + c]! += x[t * size + i]! * truth[i * columns + c]!;
  return { x, r };
}

const [size, columns] = [24, 5];
const truth = Float64Array.from(numbers(size * columns, 7), (value) => value / 5);
const nothing = emptySums(size, columns);

describe('the correction', () => {
  test('is none without tokens, and none where none helps', async () => {
    expect(await correction(nothing, nothing, multiply)).toEqual({
      delta: new Float64Array(size * columns),
      strength: Infinity,
    });
    const noise = (seed: number): RegressionSums =>
      sumsOf(tokensOf(10, new Float64Array(size * columns), size, columns, 1, seed), size, columns);
    const opposite = sumsOf(
      tokensOf(
        40,
        truth.map((value) => -value),
        size,
        columns,
        0,
        3,
      ),
      size,
      columns,
    );
    const found = await correction(sumsOf(tokensOf(40, truth, size, columns, 0, 1), size, columns), opposite, multiply);
    expect(found.strength).toBe(Infinity);
    expect((await correction(noise(1), noise(2), multiply)).delta.every(Number.isFinite)).toBe(true);
  });

  test.each([4, 8, 16, 24, 32, 64])('from %d noisy tokens never does worse on others than none', async (count) => {
    const others = tokensOf(2000, truth, size, columns, 0.3, 99);
    const without = errorOf(others, new Float64Array(size * columns), size, columns);
    const learned = sumsOf(tokensOf(count, truth, size, columns, 0.3, 11), size, columns);
    const apart = sumsOf(tokensOf(Math.ceil(count / 3) + 8, truth, size, columns, 0.3, 21), size, columns);
    const { delta } = await correction(learned, apart, multiply);
    expect(errorOf(others, delta, size, columns)).toBeLessThan(without);
  });

  test('from many tokens is least squares', async () => {
    const learned = sumsOf(tokensOf(300, truth, size, columns, 0, 1), size, columns);
    const apart = sumsOf(tokensOf(100, truth, size, columns, 0, 5), size, columns);
    const { delta, strength } = await correction(learned, apart, multiply);
    expect(strength).toBeLessThan(1e-6);
    truth.forEach((value, i) => expect(delta[i]).toBeCloseTo(value, 5));
  });

  test('is cautious where nothing is kept apart, and takes what it has when time is over', async () => {
    const learned = sumsOf(tokensOf(30, truth, size, columns, 0, 1), size, columns);
    expect((await correction(learned, nothing, multiply)).strength).toBe(1);
    const apart = sumsOf(tokensOf(30, truth, size, columns, 0, 5), size, columns);
    expect((await correction(learned, apart, multiply, () => true)).strength).toBe(0.1);
  });

  test('of ranges is that of each by itself, and a range that is settled is not tried further', async () => {
    const parts = [0, 2].map((noise) => ({
      learned: tokensOf(60, truth, size, columns, noise, 1),
      apart: tokensOf(40, truth, size, columns, noise, 5),
    }));
    const beside = (of: 'learned' | 'apart'): RegressionSums => {
      const [clear, noisy] = parts.map((part) => part[of].r);
      const r = new Float64Array(2 * clear!.length);
      for (let t = 0; t < clear!.length / columns; t++) {
        r.set(clear!.subarray(t * columns, (t + 1) * columns), 2 * t * columns);
        r.set(noisy!.subarray(t * columns, (t + 1) * columns), (2 * t + 1) * columns);
      }
      return sumsOf({ x: parts[0]![of].x, r }, size, 2 * columns);
    };
    const widths: number[] = [];
    const counting: Multiply = (a, b, rows, inner, width) => {
      widths.push(width);
      return multiply(a, b, rows, inner, width);
    };
    const ranges = [
      { from: 0, to: columns },
      { from: columns, to: 2 * columns },
    ];
    const found = await corrections(beside('learned'), beside('apart'), ranges, counting);
    expect(found.strengths[0]).toBeLessThan(found.strengths[1]!);
    for (const [n, { learned, apart }] of parts.entries()) {
      const alone = await correction(sumsOf(learned, size, columns), sumsOf(apart, size, columns), multiply);
      expect(found.strengths[n]).toBe(alone.strength);
      for (let i = 0; i < size; i++)
        for (let c = 0; c < columns; c++)
          expect(found.delta[(2 * i + n) * columns + c]).toBeCloseTo(alone.delta[i * columns + c]!, 9);
    }
    const wide = widths.filter((width) => width === 2 * columns).length;
    expect(widths.filter((width) => width === columns).length).toBeGreaterThan(2 * wide);
  });

  test('refuses sums that are not finite', async () => {
    const broken = { ...nothing, xx: nothing.xx.map(() => NaN) };
    await expect(correction(broken, nothing, multiply)).rejects.toThrow('not finite');
  });
});

test('a solution is where the objective is least: its slope there is none', async () => {
  const tokens = tokensOf(40, truth, size, columns, 1, 31);
  const sums = sumsOf(tokens, size, columns);
  const strength = 0.3;
  let trace = 0;
  for (let i = 0; i < size; i++) trace += sums.xx[i * size + i]!;
  const objective = (delta: Float64Array): number =>
    errorOf(tokens, delta, size, columns) * 40 +
    ((strength * trace) / size) * delta.reduce((sum, value) => sum + value ** 2, 0);
  const delta = await solve(sums, strength, multiply);
  for (const i of [0, 17, 63, 119]) {
    const at = (shift: number): number => objective(delta.map((value, k) => (k === i ? value + shift : value)));
    const curvature = (at(1e-3) - 2 * at(0) + at(-1e-3)) / 1e-6;
    expect(Math.abs((at(1e-3) - at(-1e-3)) / 2e-3)).toBeLessThan(1e-6 * curvature);
    expect(curvature).toBeGreaterThan(0);
  }
});

test('sums that are singular get a strength with which they are not', async () => {
  const singular: RegressionSums = { size: 2, columns: 1, xx: Float64Array.of(1, 1, 1, 1), xr: Float64Array.of(2, 2) };
  const [first, second] = await solve(singular, 1e-30, multiply);
  expect(first! + second!).toBeCloseTo(2, 3);
});

describe('an inverse', () => {
  test.each([1, 2, 96, 97, 250])('of a matrix of %d, whole or by blocks', async (n) => {
    const x = Float64Array.from(numbers(2 * n * n, 3));
    const a = sumsOf({ x, r: x.subarray(0, 2 * n) }, n, 1).xx;
    for (let i = 0; i < n; i++) a[i * n + i]! += 1;
    const unit = await multiply(a, (await invert(a, n, multiply))!, n, n, n);
    let worst = 0;
    unit.forEach((value, i) => (worst = Math.max(worst, Math.abs(value - (i % (n + 1) === 0 ? 1 : 0)))));
    expect(worst).toBeLessThan(1e-9);
  });

  test('of what is not positive definite there is none', async () => {
    expect(await invert(Float64Array.of(1, 2, 2, 1), 2, multiply)).toBeNull();
    const n = 120;
    const a = new Float64Array(n * n);
    for (let i = 0; i < n; i++) a[i * n + i] = i === 100 ? -1 : 1;
    expect(await invert(a, n, multiply)).toBeNull();
  });
});
