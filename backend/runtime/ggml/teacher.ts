/** The final exit's whole head over known text, in ggml: what exits are taught that does not depend on them. */
import { setImmediate } from 'node:timers/promises';
import { buildGraph, type BuiltGraph } from '../../ggml/graph.ts';
import { ggmlOps } from '../../ggml/ops/ops.ts';
import { isExact } from '../../ggml/weight-form.ts';
import { capLogits } from '../../model/layer.ts';
import type { Model } from '../../model/open.ts';
import { otherNodes } from './reading.ts';
import { processorOfLayer, weightsOf, type GgmlOptions } from './runtime.ts';
import { modelHead } from '../readouts/rough-head.ts';
import type { Teaching, TeacherModel } from '../staged-model.ts';

/** Positions whose logits are in memory at once. */
const most = 128;

/** Keeps a logarithm finite; what is less probable than e⁻⁶⁹ is no better known. */
const smallest = 1e-30;

/** `lists`: of token ids. */
export async function openGgmlTeacher(
  model: Model,
  lists: readonly (readonly number[])[],
  options: GgmlOptions,
): Promise<TeacherModel> {
  const { spec } = model;
  const { vocabulary, hidden } = spec;
  const processor = processorOfLayer(spec.layers.length, options);
  const weights = weightsOf(processor, model, new Map(), options);
  const masks = lists.flatMap((list, i) => {
    const listed = new Float32Array(vocabulary);
    for (const token of list) listed[token] = 1;
    return [
      { name: `outside ${i}`, values: listed.map((one) => 1 - one) },
      { name: `listed ${i}`, values: listed },
    ];
  });
  const graphs = new Map<number, BuiltGraph>();
  const graphOf = (positions: number): BuiltGraph => {
    const known = graphs.get(positions);
    if (known) return known;
    const built = buildGraph(processor, otherNodes + 3 * masks.length, (sketch) => {
      const { library: g, isGpu } = processor;
      const { context: c } = sketch;
      const shape = { tokens: 1, batch: positions, exact: isExact(options.form), isTiled: true, past: () => null };
      const ops = ggmlOps(processor, sketch, weights, shape);
      const x = { tensor: sketch.input('final', 'F32', hidden, positions), width: hidden };
      const probabilities = g.softMax(c, capLogits(ops, spec, ops.linear(x, modelHead)).tensor);
      const rows = g.reshape3(c, probabilities, 1, vocabulary, positions);
      sketch.output('right', g.getRows(c, rows, sketch.input('targets', 'I32', 1, positions)));
      for (const { name } of masks) {
        const mask = sketch.input(name, 'F32', vocabulary, 1);
        // A card might round what it multiplies.
        const share = isGpu ? g.sumRows(c, g.mul(c, probabilities, mask)) : g.mulMat(c, mask, probabilities);
        sketch.output(`of ${name}`, share);
      }
    });
    graphs.set(positions, built);
    return built;
  };
  return {
    async teach(final, targets) {
      const positions = targets.length;
      const right = new Float32Array(positions);
      const shares = lists.map(() => new Float32Array(2 * positions));
      for (let from = 0; from < positions; from += most) {
        const count = Math.min(most, positions - from);
        await setImmediate();
        const graph = graphOf(count);
        graph.set('final', final.subarray(from * hidden, (from + count) * hidden));
        graph.set(
          'targets',
          targets.subarray(from, from + count).map((token) => Math.max(0, token)),
        );
        // Their memory serves other tensors, too, as soon as they were read.
        for (const { name, values } of masks) graph.set(name, values);
        graph.compute();
        graph.get('right', right.subarray(from, from + count));
        for (const [m, { name }] of masks.entries()) {
          const share = new Float32Array(count);
          graph.get(`of ${name}`, share);
          for (const [i, each] of share.entries()) shares[m >> 1]![2 * (from + i) + (m % 2)] = logOf(each);
        }
      }
      return { surprise: right.map((each) => -logOf(each)), shares } satisfies Teaching;
    },
    async dispose() {
      for (const graph of graphs.values()) graph.dispose();
      graphs.clear();
      weights.dispose();
    },
  };
}

const logOf = (probability: number): number => Math.log(Math.max(smallest, probability));
