/** What is read of a graph's outputs. */
import { expect, test } from 'vitest';
import type { BuiltGraph } from '../../../../backend/ggml/graph.ts';
import { positionsOf } from '../../../../backend/runtime/readouts/readouts.ts';

test('logits that are no numbers are said to be damaged weights', () => {
  const graph = {
    get: (_: string, into: Float32Array | Int32Array) => void into.fill(into instanceof Int32Array ? 0 : NaN),
  };
  expect(() => positionsOf(graph as unknown as BuiltGraph, 1, null, 8)).toThrow(/logits are no numbers/);
});
