/** Sessions in a process that may use one core, as those of tests are. */
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { expect, test } from 'vitest';
import { GraphBuilder } from '../../../backend/onnx/builder.ts';
import { openSession } from '../../../backend/onnx/session.ts';

const threads = (): number => readdirSync('/proc/self/task').length;

async function startedBy(options: { threads?: number }): Promise<number> {
  const graph = new GraphBuilder();
  graph.output(graph.node('Neg', [graph.input('x', 'float32', [1])]), 'y', 'float32', [1]);
  const before = threads();
  const session = await openSession(graph.build(), options);
  const { y } = await session.run({ x: { data: Float32Array.of(2), shape: [1] } });
  expect(y!.data).toEqual(Float32Array.of(-2));
  const started = threads() - before;
  await session.dispose();
  return started;
}

test.skipIf(process.platform !== 'linux')('start no thread unless they are told to', async () => {
  expect(availableParallelism()).toBe(1);
  // The first loads the library.
  await startedBy({ threads: 1 });
  expect(await startedBy({})).toBe(0);
  expect(await startedBy({ threads: 3 })).toBe(2);
});
