/** Every block type: our values are ggml's own to the bit, and its products are even and close to products with those values. */
import { describe, expect, it } from 'vitest';
import { openCpu } from '../../../backend/ggml/cpu.ts';
import { buildGraph } from '../../../backend/ggml/graph.ts';
import { openLibrary, types } from '../../../backend/ggml/library.ts';
import { libraryFolder } from '../../../backend/ggml/packages.ts';
import { newContext } from '../../../backend/ggml/processor.ts';
import { dequantise } from '../../../backend/formats/dequantise.ts';
import { randomBlocks } from '../../support/blocks.ts';
import { blockTypes } from '../../support/product-bits.ts';

const [columns, rows] = [512, 24];

describe('ggml', () => {
  const cpu = openCpu(openLibrary(libraryFolder()!), { threads: 1 });
  const { library: g } = cpu;

  it('has every block type', () => expect(blockTypes).toHaveLength(22));

  it.each(blockTypes)('%s', (type) => {
    const stored = randomBlocks(type, columns * rows);
    const context = newContext(g, 1);
    const weight = g.newTensor2(context, types[type], columns, rows);
    const buffer = g.allocate(context, cpu.plain)!;
    g.set(weight, stored, 0, stored.byteLength);
    const x = Float32Array.from({ length: columns }, (_, i) => Math.sin(i));
    const graph = buildGraph(cpu, 8, (sketch) => {
      sketch.output('rows', g.getRows(sketch.context, weight, sketch.input('ids', 'I32', rows)));
      sketch.output('product', g.mulMat(sketch.context, weight, sketch.input('x', 'F32', columns, 1)));
    });
    graph.set(
      'ids',
      Int32Array.from({ length: rows }, (_, i) => i),
    );
    graph.set('x', x);
    graph.compute();
    const values = new Float32Array(columns * rows);
    graph.get('rows', values);
    const ours = dequantise(type, stored, values.length);
    expect(ours.findIndex((value, i) => value !== values[i])).toBe(-1);
    expect(new Set(ours).size).toBeGreaterThan(20);

    const product = new Float32Array(rows);
    graph.get('product', product);
    for (let r = 0; r < rows; r++) {
      let [sum, size] = [0, 0];
      for (let i = 0; i < columns; i++) {
        sum += ours[r * columns + i]! * x[i]!;
        size += (ours[r * columns + i]! * x[i]!) ** 2;
      }
      // Activations are rounded to 8 bits.
      expect(Math.abs(product[r]! - sum)).toBeLessThan(0.03 * Math.sqrt(size));
    }
    expect(cpu.place(type, columns, 64).isEven).toBe(true);
    expect(cpu.place(type, columns, 64, 3).isEven).toBe(true);
    graph.dispose();
    g.freeBuffer(buffer);
    g.free(context);
  });
});
