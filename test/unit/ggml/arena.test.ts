/** What an arena takes for what is placed in it. */
import { describe, expect, test } from 'vitest';
import { newArena } from '../../../backend/ggml/arena.ts';
import type { Address, Buffer, BufferType, Library, Tensor } from '../../../backend/ggml/library.ts';
import type { Processor } from '../../../backend/ggml/processor.ts';

const megabyte = 2 ** 20;
const plain = {} as BufferType;

/** Tensors of these numbers of bytes, placed one after another: the buffers that were taken, and what lies in each. */
function placedIn(isGpu: boolean, tensors: readonly number[]): { size: number; places: [number, number][] }[] {
  const buffers: { size: number; places: [number, number][] }[] = [];
  const library: Partial<Library> = {
    newBuffer: (_, size) => (buffers.push({ size, places: [] }), buffers.length as unknown as Buffer),
    markWeights: () => undefined,
    bufferBase: () => 0n as Address,
    placeStep: () => 32,
    placeBytes: (_, tensor) => tensor as unknown as number,
    placeTensor(buffer, tensor, at) {
      buffers[(buffer as unknown as number) - 1]!.places.push([Number(at), tensor as unknown as number]);
      return 0;
    },
  };
  const arena = newArena({ library, isGpu, largePages: null } as unknown as Processor, 1);
  for (const bytes of tensors) expect(arena.place(bytes as unknown as Tensor, plain)).toBe(true);
  return buffers;
}

describe('buffers', () => {
  /** A layer: large matrices, small ones, norms. */
  const layer = [40, 40, 18, 3, 3, 70, 70, 0.02, 0.02].map((size) => Math.round(size * megabyte));
  const tensors = Array.from({ length: 24 }, () => layer).flat();
  const all = tensors.reduce((a, b) => a + b, 0);

  test.each([true, false])('hold every tensor by itself, on a card: %s', (isGpu) => {
    for (const { size, places } of placedIn(isGpu, tensors)) {
      let end = 0;
      for (const [at, bytes] of places) {
        expect(at).toBeGreaterThanOrEqual(end);
        end = at + bytes;
      }
      expect(end).toBeLessThanOrEqual(size);
    }
  });

  test('on a card take hardly more than what lies in them', () => {
    const taken = placedIn(true, tensors).reduce((sum, { size }) => sum + size, 0);
    expect(taken / all).toBeLessThan(1.02);
  });

  test('in the system’s memory are few', () => {
    expect(placedIn(false, tensors).length).toBeLessThan(tensors.length / 2);
  });
});
