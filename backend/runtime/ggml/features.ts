/** Whole sequences in ggml: the stream at some cuts, and the exits' scores of known text, in parts that fit memory. */
import { setImmediate } from 'node:timers/promises';
import { exitState, headPath } from '../../exits/forward.ts';
import { entryWidth } from '../../exits/memory.ts';
import { exitCut } from '../../exits/architectures.ts';
import { classCount, type ExitSpec } from '../../exits/spec.ts';
import type { Processor } from '../../ggml/processor.ts';
import { buildGraph, type BuiltGraph, type Value } from '../../ggml/graph.ts';
import { ggmlOps } from '../../ggml/ops/ops.ts';
import type { OpsOptions } from '../../ggml/ops/pass.ts';
import { isExact } from '../../ggml/weight-form.ts';
import { capLogits, finalState, layerPath, stage } from '../../model/layer.ts';
import type { Model } from '../../model/open.ts';
import type { Ops } from '../../model/ops.ts';
import { cutName, cutWidth, finalCut, inputCut, type Cut, type ModelSpec } from '../../model/spec.ts';
import { embed } from '../embedding.ts';
import { causalMask, fillRotations, isMask, windowOf } from './inputs.ts';
import { layerNodes, otherNodes, readouts } from './reading.ts';
import { processorOfLayer, weightsOf, type GgmlOptions } from './runtime.ts';
import { inputRotations } from './rotations.ts';
import { logSum, positionsOf, tokensOf } from '../readouts/readouts.ts';
import { distinctCuts, type ExitSet } from '../stage-tree.ts';
import { entryNames, type ExitScorer, type FeatureModel } from '../staged-model.ts';

/** Columns of a graph at most, whole sequences assumed: bounds the memory between its operators. */
const columnLimit = 2048;
/** Positions whose logits are in memory at once. */
const headLimit = 64;

/** The frozen backbone up to the deepest of `cuts`, and the keys and values of the attentions of `entries`. */
export async function openGgmlFeatures(
  model: Model,
  cuts: readonly Cut[],
  options: GgmlOptions,
  entries: readonly number[] = [],
): Promise<FeatureModel> {
  const { spec, parameters } = model;
  // A model that a GPU has room for only in part is read by the CPU here.
  const processor = processorOfLayer(spec.layers.length, options);
  const ordered = distinctCuts(cuts);
  const weights = weightsOf(processor, model, new Map(), options);
  const outputs = [
    ...ordered.map((cut) => ({ name: cutName(cut), width: cutWidth(spec, cut) })),
    ...entryNames(entries).map((name) => ({ name, width: entryWidth(spec) })),
  ];
  const bySlot = new Map(entries.map((layer) => [layerPath(layer), entryNames([layer])]));
  const graphs = graphPerShape(processor, spec, (shape) => {
    const nodes = (layerNodes(spec) + 2) * (ordered.at(-1)!.layer + ordered.length) + otherNodes;
    return buildGraph(processor, nodes, (sketch) => {
      const ops: Ops<Value> = {
        ...ggmlOps(processor, sketch, weights, shape),
        entries(slot, ...kinds) {
          for (const [i, name] of (bySlot.get(slot) ?? []).entries())
            sketch.output(name, processor.library.cont(sketch.context, kinds[i]!.tensor));
        },
      };
      let from = inputCut;
      const columns = shape.tokens * shape.batch;
      let x = { tensor: sketch.input('stream', 'F32', spec.hidden, columns), width: spec.hidden };
      for (const cut of ordered) {
        x = stage(ops, spec, from, cut, x);
        sketch.output(cutName(cut), x.tensor);
        from = cut;
      }
    });
  });
  return {
    spec,
    cuts: ordered,
    entries,
    async features(ids, batch, tokens) {
      const states = outputs.map(({ width }) => new Float32Array(batch * tokens * width));
      for (const { first, rows } of parts(batch, tokens)) {
        const own = ids.subarray(first * tokens, (first + rows) * tokens);
        const stream = embed(
          spec,
          parameters,
          own,
          Int32Array.from(own, (_, i) => i % tokens),
        );
        await setImmediate();
        const graph = graphs.run(tokens, rows, isExact(options.form), stream);
        for (const [i, { name, width }] of outputs.entries())
          graph.get(name, states[i]!.subarray(first * tokens * width, (first + rows) * tokens * width));
      }
      return states;
    },
    async dispose() {
      graphs.dispose();
      weights.dispose();
    },
  };
}

/** Scores one exit (null: the final one). */
export async function openGgmlScorer(
  model: Model,
  exit: ExitSpec | null,
  exitParameters: ExitSet['parameters'],
  options: GgmlOptions,
): Promise<ExitScorer> {
  const { spec } = model;
  // A model that a GPU has room for only in part is read by the CPU here.
  const processor = processorOfLayer(spec.layers.length, options);
  const weights = weightsOf(processor, model, exitParameters, options);
  const width = cutWidth(spec, exit ? exitCut(exit) : finalCut(spec));
  const classes = classCount(spec, exit);
  const toToken = tokensOf(exit);
  const states = graphPerShape(processor, spec, (shape) =>
    buildGraph(processor, layerNodes(spec) + otherNodes, (sketch) => {
      const ops = ggmlOps(processor, sketch, weights, shape);
      const x = { tensor: sketch.input('stream', 'F32', width, shape.tokens * shape.batch), width };
      sketch.output('state', (exit ? exitState(ops, spec, exit, x) : finalState(ops, spec, x)).tensor);
    }),
  );
  const heads = new Map<number, BuiltGraph>();
  const headOf = (positions: number): BuiltGraph => {
    let graph = heads.get(positions);
    if (graph === undefined) {
      graph = buildGraph(processor, 2 * otherNodes, (sketch) => {
        const shape = { tokens: 1, batch: positions, exact: isExact(options.form), isTiled: true, past: () => null };
        const ops = ggmlOps(processor, sketch, weights, shape);
        const x = { tensor: sketch.input('state', 'F32', spec.hidden, positions), width: spec.hidden };
        const logits = capLogits(ops, spec, ops.linear(x, exit ? headPath(exit) : 'lm_head')).tensor;
        readouts(processor, sketch, logits, classes, positions);
        const { library: g } = processor;
        const targets = sketch.input('targets', 'I32', 1, positions);
        const rows = g.reshape3(sketch.context, logits, 1, classes, positions);
        sketch.output('target', g.getRows(sketch.context, rows, targets));
      });
      heads.set(positions, graph);
    }
    return graph;
  };
  return {
    async score(value, targets, batch, tokens) {
      const positions = batch * tokens;
      const state = new Float32Array(positions * spec.hidden);
      for (const { first, rows } of parts(batch, tokens)) {
        const [from, to] = [first * tokens, (first + rows) * tokens];
        const graph = states.run(tokens, rows, isExact(options.form), value.subarray(from * width, to * width));
        graph.get('state', state.subarray(from * spec.hidden, to * spec.hidden));
      }
      const loss = new Float32Array(positions);
      const token = new Int32Array(positions);
      const confidence = new Float32Array(positions);
      const deferred: boolean[] = [];
      for (let from = 0; from < positions; from += headLimit) {
        const count = Math.min(headLimit, positions - from);
        await setImmediate();
        const graph = headOf(count);
        graph.set('state', state.subarray(from * spec.hidden, (from + count) * spec.hidden));
        graph.set(
          'targets',
          Int32Array.from({ length: count }, (_, i) => Math.max(0, targets[from + i]!)),
        );
        graph.compute();
        const scores = new Float32Array(count);
        graph.get('target', scores);
        for (const [i, { best }] of positionsOf(graph, count, toToken, classes).entries()) {
          const real = best.find(({ id }) => id >= 0)!;
          loss[from + i] = logSum(best[0]!) - scores[i]!;
          token[from + i] = real.id;
          confidence[from + i] = real.probability;
          deferred.push(best[0]!.id < 0);
        }
      }
      return { loss, token, confidence, deferred };
    },
    async dispose() {
      states.dispose();
      for (const graph of heads.values()) graph.dispose();
      heads.clear();
      weights.dispose();
    },
  };
}

/** Sequences that go together. */
function parts(batch: number, tokens: number): { first: number; rows: number }[] {
  const most = Math.max(1, Math.floor(columnLimit / tokens));
  return Array.from({ length: Math.ceil(batch / most) }, (_, i) => ({
    first: i * most,
    rows: Math.min(most, batch - i * most),
  }));
}

/** The graph for the last shape, which most sequences have. */
function graphPerShape(
  processor: Processor,
  spec: ModelSpec,
  build: (shape: OpsOptions) => BuiltGraph,
): { run(tokens: number, batch: number, exact: boolean, stream: Float32Array): BuiltGraph; dispose(): void } {
  const rotations = inputRotations(spec);
  let last: { readonly key: string; readonly graph: BuiltGraph } | null = null;
  const dispose = (): void => {
    last?.graph.dispose();
    last = null;
  };
  return {
    run(tokens, batch, exact, stream) {
      const key = `${tokens} ${batch}`;
      if (last?.key !== key) {
        dispose();
        last = { key, graph: build({ tokens, batch, exact, isTiled: true, past: () => null }) };
      }
      const { graph } = last;
      const positions = Int32Array.from({ length: tokens * batch }, (_, i) => i % tokens);
      for (const name of graph.inputs) {
        if (name === 'stream') graph.set(name, stream);
        else if (name === 'positions') graph.set(name, positions);
        else if (isMask(name)) graph.set(name, causalMask(positions, tokens, windowOf(name)));
      }
      const [starts, lengths] = [0, tokens].map((each) => Array.from({ length: batch }, () => each)) as [
        number[],
        number[],
      ];
      fillRotations(graph, { tokens, batch, starts, lengths }, rotations);
      // Each token is computed only once, so its bits need not be reproducible.
      processor.setTiled(true);
      graph.compute();
      processor.setTiled(false);
      return graph;
    },
    dispose,
  };
}
