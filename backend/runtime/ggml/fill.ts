/** The graph that fills the layers behind an exit from its memory (exits/memory.ts): one product, and a few rows written. */
import { entryWidth, layersBehind, memoryPath } from '../../exits/memory.ts';
import { exitCut } from '../../exits/architectures.ts';
import { buildGraph, type BuiltGraph, type Value } from '../../ggml/graph.ts';
import type { Tensor } from '../../ggml/library.ts';
import { ggmlOps } from '../../ggml/ops/ops.ts';
import { layerPath, openCut, placedKeys } from '../../model/layer.ts';
import { cutWidth, type ModelSpec } from '../../model/spec.ts';
import { columnsOf, type GraphWeights } from './reading.ts';
import type { SlotsStore } from './store.ts';
import type { ExitPoint } from '../staged-model.ts';

/** Upper bounds: operators of a layer, and operators outside of layers. */
const nodesOfLayer = 24;
const otherNodes = 24;

/**
 * From the stream at an exit's cut to keys and values of all attentions behind it. Inputs: `at` (place of each column's stream), `entries`
 * (targets of its keys and values), and those by which `ggmlOps` rotates keys.
 */
export function memoryGraph(
  { processor, weights, exact }: GraphWeights,
  spec: ModelSpec,
  { stages, spec: exit }: ExitPoint,
  columns: number,
  store: SlotsStore,
): BuiltGraph {
  const { library: g } = processor;
  const cut = exitCut(exit!);
  const layers = layersBehind(spec, cut);
  const each = entryWidth(spec);
  const { kind, epsilon } = spec.norm;
  return buildGraph(processor, nodesOfLayer * layers.length + otherNodes, (sketch) => {
    const { context: c } = sketch;
    const shape = { tokens: 1, batch: columns, exact, isTiled: false, past: () => null };
    const ops = ggmlOps(processor, sketch, weights, shape);
    const normed = (of: Tensor): Tensor => (kind === 'rms' ? g.rmsNorm(c, of, epsilon) : g.norm(c, of, epsilon));
    const stream = {
      tensor: columnsOf(processor, sketch, store.stream(stages - 1), columns),
      width: cutWidth(spec, cut),
    };
    const { x } = openCut(ops, spec, cut, stream).stream;
    const r = spec.normPlacement === 'post' ? x : { ...x, tensor: normed(x.tensor) };
    const y = ops.linear(r, memoryPath(cut));
    const stride = y.width * 4;
    const part = (first: number, width: number): Value => ({
      tensor: g.view2(c, y.tensor, width, columns, stride, first * each * 4),
      width,
      stride,
    });
    const places = sketch.input('entries', 'I64', columns);
    for (const [i, layer] of layers.entries()) {
      const path = layerPath(layer);
      const { key, value } = store.past(path);
      const keys = placedKeys(ops, spec, spec.layers[layer - 1]!, part(i, each), `${path}.self_attn`);
      sketch.effect(g.setRows(c, key, keys.tensor, places));
      sketch.effect(g.setRows(c, value, part(layers.length + i, each).tensor, places));
    }
  });
}
