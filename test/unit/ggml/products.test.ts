/** A token's products have the same bits whatever stands beside it: among tokens of large passes, and among all others. */
import { describe, expect, it } from 'vitest';
import { openCpu } from '../../../backend/ggml/cpu.ts';
import { openLibrary } from '../../../backend/ggml/library.ts';
import { libraryFolder } from '../../../backend/ggml/packages.ts';
import { areAlike, blockTypes, differingProducts } from '../../support/product-bits.ts';

describe('products in ggml', () => {
  const cpu = openCpu(openLibrary(libraryFolder()!), { threads: 2 });
  it.each(blockTypes)('%s', (type) => expect(differingProducts(cpu, type)).toEqual([]));

  it.each(blockTypes)('%s: as many tokens go through a product as are summed alike', (type) => {
    const { few } = cpu.place(type, 1024, 96);
    if (few === null) return;
    expect(areAlike(cpu, type, few)).toBe(true);
    expect([2, 3].filter((tokens) => tokens > few && areAlike(cpu, type, tokens))).toEqual([]);
  });
});
