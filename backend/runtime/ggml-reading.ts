/** Graphs of the exits' readouts in ggml. readouts.ts reads their outputs. */
import { headPath, logitsBehind } from '../exits/forward.ts';
import { classCount } from '../exits/spec.ts';
import { buildGraph, type BuiltGraph, type GraphSketch } from '../ggml/graph.ts';
import type { Tensor } from '../ggml/library.ts';
import { mixtureNodes } from '../ggml/ops/mixture.ts';
import { ggmlOps } from '../ggml/ops/ops.ts';
import type { Processor } from '../ggml/processor.ts';
import { screenedLinear, type Screen } from '../ggml/ops/screened.ts';
import type { Weights } from '../ggml/weights.ts';
import { finalLogits } from '../model/layer.ts';
import { cutWidth, type ModelSpec } from '../model/spec.ts';
import type { ReadShape, SlotsStore } from './ggml-store.ts';
import { candidateCount, partsOf } from './readouts.ts';
import { modelHead } from './rough-head.ts';
import type { ExitPoint } from './staged-model.ts';

/** Upper bounds: operators of a layer, and operators outside of layers. */
export const layerNodes = (spec: ModelSpec): number =>
  60 + Math.max(0, ...spec.layers.map(({ mixture }) => (mixture ? mixtureNodes(mixture) : 0)));
export const otherNodes = 64;

/** The processor and the weights of the graphs. */
export interface Place {
  readonly processor: Processor;
  readonly weights: Weights;
  readonly exact: boolean;
  /** Of the model's head, if it can be screened here. */
  readonly screen: Screen | null;
}

/** Whether an exit reads with the model's own head, as the final exit does. */
export const readsHead = ({ spec }: ExitPoint): boolean => spec === null || headPath(spec) === modelHead;

/** The stream at the places that the input `at` names, a column each. */
export const columnsOf = ({ library }: Processor, sketch: GraphSketch, stream: Tensor, columns: number): Tensor =>
  library.getRows(sketch.context, stream, sketch.input('at', 'I32', columns));

/** An exit's readouts of some positions: see `readouts`. Input: `at`. */
export function readGraph(
  { processor, weights, exact, screen }: Place,
  spec: ModelSpec,
  { reads, spec: exit }: ExitPoint,
  { positions, isScreened }: ReadShape,
  store: SlotsStore,
): BuiltGraph {
  return buildGraph(processor, layerNodes(spec) + otherNodes, (sketch) => {
    const shape = { tokens: 1, batch: positions, exact, isTiled: false, past: () => null };
    const whole = ggmlOps(processor, sketch, weights, shape);
    const ops: typeof whole = {
      ...whole,
      linear(x, path) {
        if (!isScreened || screen?.whole !== path) return whole.linear(x, path);
        const rough = whole.linear(x, screen.rough);
        return screenedLinear(processor, sketch, weights, { x, rough, screen, positions });
      },
    };
    const tensor = columnsOf(processor, sketch, store.stream(reads), positions);
    const x = { tensor, width: cutWidth(spec, store.cut(reads)) };
    const logits = exit ? logitsBehind(ops, spec, exit, x) : finalLogits(ops, spec, x);
    readouts(processor, sketch, logits.tensor, classCount(spec, exit), positions);
  });
}

/**
 * Of logits `[classes, positions]`, as outputs, for each of `partsOf(classes)` equal parts of a position's row: the best classes of
 * the part in any order `top` `[k, parts · positions]`, counted within it, their `scores` (logits) and `probabilities` within it;
 * `expected`, the part's mean logit; and the whole `logits`.
 */
export function readouts(
  { library: g, isGpu }: Processor,
  sketch: GraphSketch,
  logits: Tensor,
  classes: number,
  positions: number,
): void {
  const { context: c } = sketch;
  const rows = partsOf(classes) * positions;
  const each = classes / partsOf(classes);
  const parts = g.reshape2(c, logits, each, rows);
  const probabilities = g.softMax(c, parts);
  const top = g.topK(c, parts, Math.min(candidateCount, each));
  const of = (values: Tensor): Tensor => g.getRows(c, g.reshape3(c, values, 1, each, rows), top);
  const alone = (values: Tensor): Tensor => g.reshape3(c, values, each, 1, rows);
  sketch.output('top', top);
  sketch.output('scores', of(parts));
  sketch.output('probabilities', of(probabilities));
  // A card might round what it multiplies.
  const expected = isGpu
    ? g.sumRows(c, g.mul(c, probabilities, parts))
    : g.mulMat(c, alone(probabilities), alone(parts));
  sketch.output('expected', expected);
  sketch.output('logits', logits);
}
