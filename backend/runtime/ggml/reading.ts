/** Graphs of the exits' readouts in ggml. readouts/readouts.ts reads their outputs. */
import { headPath, stateBehind } from '../../exits/forward.ts';
import { classCount } from '../../exits/spec.ts';
import { buildGraph, type BuiltGraph, type GraphSketch, type Value } from '../../ggml/graph.ts';
import type { Tensor } from '../../ggml/library.ts';
import { mixtureNodes } from '../../ggml/ops/mixture.ts';
import { ggmlOps } from '../../ggml/ops/ops.ts';
import type { Processor } from '../../ggml/processor.ts';
import { screenedLinear, type Screen } from '../../ggml/ops/screened.ts';
import type { Weights } from '../../ggml/weights.ts';
import { capLogits, finalState } from '../../model/layer.ts';
import type { Ops } from '../../model/ops.ts';
import { cutWidth, type ModelSpec } from '../../model/spec.ts';
import type { ReadShape, SlotsStore, UnlistedShape } from './store.ts';
import type { HeadRows } from '../readouts/head-rows.ts';
import type { Common } from '../readouts/common.ts';
import { candidateCount, partsOf } from '../readouts/readouts.ts';
import { modelHead } from '../readouts/rough-head.ts';
import type { ExitPoint } from '../staged-model.ts';

/** Upper bounds: operators of a layer, and operators outside of layers. */
export const layerNodes = (spec: ModelSpec): number =>
  120 + Math.max(0, ...spec.layers.map(({ mixture }) => (mixture ? mixtureNodes(mixture) : 0)));
export const otherNodes = 64;

/** The processor and the weights of the graphs. */
export interface GraphWeights {
  readonly processor: Processor;
  readonly weights: Weights;
  readonly exact: boolean;
  /** Of the model's head, if it can be screened here. */
  readonly screen: Screen | null;
  /** Rows of the model's head on the processor. */
  readonly headRows: () => HeadRows;
}

/** Whether an exit reads with the model's own head, as the final exit does. */
export const readsHead = ({ spec }: ExitPoint): boolean => spec === null || headPath(spec) === modelHead;

/** The stream at the places that the input `at` names, a column each. */
export const columnsOf = ({ library }: Processor, sketch: GraphSketch, stream: Tensor, columns: number): Tensor =>
  library.getRows(sketch.context, stream, sketch.input('at', 'I32', columns));

/** An exit, and the common tokens that it scores beside its list; null: none. */
interface ReadPoint extends ExitPoint {
  readonly common: Common | null;
}

/**
 * An exit's readouts of some positions: see `readouts`. Input: `at`. Classes of common tokens are behind the exit's own, and those of unlisted
 * tokens behind these; inputs `rows`, the places of the latter in the head's rows, and `offsets` `[tokens, positions]` to their logits.
 */
export function readGraph(
  { processor, weights, exact, screen, headRows }: GraphWeights,
  spec: ModelSpec,
  { reads, spec: exit, common }: ReadPoint,
  { positions, isScreened, unlisted }: ReadShape,
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
    const state = exit ? stateBehind(ops, spec, exit, x) : finalState(ops, spec, x);
    const listed = ops.linear(state, exit ? headPath(exit) : modelHead);
    const own = capLogits(ops, spec, common ? ops.concat(listed, ops.linear(state, common.path)) : listed);
    const classes = classCount(spec, exit) + (common?.tokens.length ?? 0);
    if (unlisted === null) return readouts(processor, sketch, own.tensor, classes, positions);
    sketch.output('state', state.tensor);
    const others = unlistedLogits(processor, sketch, headRows().tensor, unlisted, { ops, spec, state, positions });
    // In one part, so that sums do not depend on the number of unlisted tokens.
    readouts(processor, sketch, ops.concat(own, others).tensor, classes + unlisted.tokens, positions, 1);
  });
}

/**
 * State `[width, positions]` → `[tokens, positions]`: each row's positions by that row's own rows of the head. Each position is multiplied by
 * itself, so that its bits do not depend on the others.
 */
function unlistedLogits(
  { library: g }: Processor,
  sketch: GraphSketch,
  head: Tensor,
  { rows, tokens }: UnlistedShape,
  of: { readonly ops: Ops<Value>; readonly spec: ModelSpec; readonly state: Value; readonly positions: number },
): Value {
  const { context: c } = sketch;
  const { tensor, width } = of.state;
  const chosen = g.reshape3(c, g.getRows(c, head, sketch.input('rows', 'I32', rows * tokens)), width, tokens, rows);
  const products = g.mulMat(c, chosen, g.reshape3(c, tensor, width, 1, of.positions));
  const logits = { tensor: g.reshape2(c, products, tokens, of.positions), width: tokens };
  const offsets = sketch.input('offsets', 'F32', tokens, of.positions);
  return { tensor: g.add(c, capLogits(of.ops, of.spec, logits).tensor, offsets), width: tokens };
}

/**
 * Of logits `[classes, positions]`, as outputs, for each of `count` equal parts of a position's row: the best classes of
 * the part in any order `top` `[k, parts · positions]`, counted within it, their `scores` (logits) and `probabilities` within it;
 * `expected`, the part's mean logit; and the whole `logits`.
 */
export function readouts(
  { library: g, isGpu }: Processor,
  sketch: GraphSketch,
  logits: Tensor,
  classes: number,
  positions: number,
  count = partsOf(classes),
): void {
  const { context: c } = sketch;
  const rows = count * positions;
  const each = classes / count;
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
