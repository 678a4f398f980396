import { expect, it } from 'vitest';
import { createWritten } from '../../../backend/language-server/written.ts';
import type { TokenRecord } from '../../../protocol/trace.ts';

const token = (index: number): TokenRecord => ({
  index,
  id: 7,
  text: ' a',
  layer: 12,
  exit: 'final',
  confidence: 1,
  sequence: 0,
});
const taken = (written: ReturnType<typeof createWritten>, count: number): number[] | undefined =>
  written.take('g', count)?.trace.tokens.map(({ index }) => index);

it('a generation is kept until it is over and its last token is taken', () => {
  const written = createWritten();
  written.begin('g', 'file:///a', 'fn', undefined);
  written.received('g', token(0));
  expect(taken(written, 1)).toEqual([0]);
  // More may come.
  expect(taken(written, 1)).toEqual([]);
  written.received('g', token(1));
  written.received('g', token(2));
  written.end('g');
  expect(taken(written, 1)).toEqual([1]);
  expect(taken(written, 1)).toEqual([2]);
  expect(taken(written, 1)).toBeUndefined();
});

it('a generation without a token is not kept when it has failed', () => {
  const written = createWritten();
  written.begin('g', 'file:///a', 'fn', undefined);
  written.end('g');
  expect(taken(written, 1)).toBeUndefined();
});
