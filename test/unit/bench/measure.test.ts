import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openModel } from '../../../backend/model/open.ts';
import { operations, stepProducts } from '../../bench/contestants/gemm.ts';
import { alternate, measurement, median, ratioOfTotals, speedup } from '../../bench/measure.ts';
import { fixtures } from '../../support/golden.ts';

describe('measuring', () => {
  it('takes the middle, or the mean of the two in the middle', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(() => measurement('x', [])).toThrow('nothing was measured');
  });

  it('compares by medians, by minima and by all together', () => {
    const ours = measurement('ours', [2, 1, 4]);
    const theirs = measurement('theirs', [6, 3, 5]);
    expect(speedup(ours, theirs)).toEqual({ median: 2.5, minimum: 3 });
    expect(ratioOfTotals(theirs, ours)).toBe(2);
  });

  it('alternates, turns the order and does not count the first round', async () => {
    const turns: string[] = [];
    const contestant = (name: string) => ({
      name,
      turn: async () => {
        turns.push(name);
        return { [name]: turns.length };
      },
    });
    const measured = await alternate([contestant('a'), contestant('b')], 2);
    expect(turns.join('')).toBe('ababba');
    expect(measured.get('a')!.samples).toEqual([3, 6]);
    expect(measured.get('b')!.samples).toEqual([4, 5]);
  });
});

describe('products of a step', () => {
  const model = openModel(join(fixtures, 'tiny', 'llama-untied'));
  const { hidden, vocabulary } = model.spec;

  it('are three a matrix, less what nothing trained lies below', () => {
    const [lens] = [{ layer: 1, architecture: 'lens', head: { kind: 'own' } } as const];
    expect(operations(stepProducts(model, [lens], 10))).toBe(3 * 2 * 10 * hidden * (hidden + vocabulary));
    const mlp = { layer: 1, architecture: 'mlp', head: { kind: 'own' } } as const;
    const [inner] = model.parameters.shape('layers.0.mlp.gate_proj.weight') as [number];
    const matrices = 3 * hidden * vocabulary + (2 * 2 + 3) * hidden * inner;
    expect(operations(stepProducts(model, [mlp], 10))).toBe(2 * 10 * matrices);
  });
});
