/** What memory the experts of a mixture take where all is to be exact: small ones 32 bits a number, others what the file takes. */
import { describe, expect, it } from 'vitest';
import { openCpu } from '../../../backend/ggml/cpu.ts';
import { libraryFolder, openLibrary } from '../../../backend/ggml/library.ts';
import { openWeights } from '../../../backend/ggml/weights.ts';
import type { Parameters } from '../../../backend/model/parameters.ts';

/** Experts of zeros in blocks of Q8_0. */
const zeros = (rows: number, columns: number): Parameters => ({
  has: () => true,
  shape: () => [rows, columns],
  values: () => new Float32Array(rows * columns),
  rows: () => new Float32Array(0),
  blockForm: () => null,
  blocks: () => {
    throw new Error('experts have none');
  },
  storedType: () => 'Q8_0',
  stored: () => new Uint8Array((rows * columns * 34) / 32),
});

describe.skipIf(libraryFolder() === null)('experts', () => {
  const cpu = openCpu(openLibrary(libraryFolder()!), { threads: 1 });
  it.each([
    ['small', 2048, true, 4],
    ['small', 2048, false, 34 / 32],
    ['large', 2052, true, 34 / 32],
  ])('%s ones, %s rows, exact: %s', (_, rows, exact, bytes) => {
    const weights = openWeights(cpu, zeros(rows, 2048), exact ? 'exact' : 'stored');
    expect(cpu.library.tensorBytes(weights.experts('experts.weight', 4))).toBe(rows * 2048 * bytes);
    weights.dispose();
  });
});
