/** The graphs of a staged model: a stage between two cuts, a readout of an exit, the backbone as a source of features. */
import { exitBranch, exitLogits, logitsBehind } from '../exits/forward.ts';
import { exitCut, type ExitSpec } from '../exits/spec.ts';
import { GraphBuilder, type BuiltGraph } from '../onnx/builder.ts';
import { operatorsOf } from '../onnx/operators.ts';
import { graphOps, type GraphOptions } from '../onnx/ops.ts';
import { finalLogits, stage } from '../model/layer.ts';
import type { Parameters } from '../model/parameters.ts';
import { cutName, cutWidth, finalCut, inputCut, type Cut, type ModelSpec } from '../model/spec.ts';
import { candidateCount } from './readouts.ts';

/** What will run a graph, and how. */
export type GraphTarget = Omit<GraphOptions, 'past'>;

/** A graph and the cache slots its attentions use. */
export interface SlottedGraph {
  readonly graph: BuiltGraph;
  readonly slots: readonly string[];
}

/** `hidden` at `from` → `hidden` at `to`, with a cache. */
export function stageGraph(
  spec: ModelSpec,
  parameters: Parameters,
  from: Cut,
  to: Cut,
  target: GraphTarget,
): SlottedGraph {
  const builder = new GraphBuilder();
  const ops = graphOps(builder, parameters, { ...target, past: true });
  const x = builder.input('stream', 'float32', ['batch', 'tokens', cutWidth(spec, from)]);
  builder.output(stage(ops, spec, from, to, x), 'hidden', 'float32', ['batch', 'tokens', cutWidth(spec, to)]);
  return { graph: builder.build(), slots: ops.slots };
}

/** The layer that an exit has of its own, with a cache: `stream` at its cut → `hidden` behind it. */
export function branchGraph(
  spec: ModelSpec,
  parameters: Parameters,
  exit: ExitSpec,
  target: GraphTarget,
): SlottedGraph {
  const builder = new GraphBuilder();
  const ops = graphOps(builder, parameters, { ...target, past: true });
  const x = builder.input('stream', 'float32', ['batch', 'tokens', cutWidth(spec, exitCut(exit))]);
  builder.output(exitBranch(ops, spec, exit, x), 'hidden', 'float32', ['batch', 'tokens', spec.hidden]);
  return { graph: builder.build(), slots: ops.slots };
}

/** Blocks of queries of a full sequence: with four, 5/8 of the products of attention are left. */
export const queryBlocks = 4;

/** The stream at each cut of full sequences, of `queryBlocks` tokens at least, without a past; outputs are named by cut. */
export function featureGraph(
  spec: ModelSpec,
  parameters: Parameters,
  cuts: readonly Cut[],
  target: GraphTarget,
): BuiltGraph {
  const builder = new GraphBuilder();
  const ops = graphOps(builder, parameters, { ...target, past: false, queryBlocks });
  let from = inputCut;
  let x = builder.input('stream', 'float32', ['batch', 'tokens', spec.hidden]);
  for (const cut of cuts) {
    x = stage(ops, spec, from, cut, x);
    builder.output(x, cutName(cut), 'float32', ['batch', 'tokens', cutWidth(spec, cut)]);
    from = cut;
  }
  return builder.build();
}

/**
 * What an exit (null: the final one) says of each position of the stream that it reads (behind its branch, where it has one): `classes` and `probabilities` of the top `candidateCount`
 * `[batch, tokens, k]`, `entropy` `[batch, tokens, 1]`, `logits` `[batch, tokens, classes]`. Ranked by logit, so that two
 * probabilities that round to one do not change the order.
 */
export function readoutGraph(
  spec: ModelSpec,
  parameters: Parameters,
  exit: ExitSpec | null,
  target: GraphTarget,
): BuiltGraph {
  const builder = new GraphBuilder();
  const { logits, classes } = logitsOf(builder, spec, parameters, exit, { ...target, past: true }, logitsBehind);
  const k = Math.min(candidateCount, classes);
  const [top, ids] = builder.nodeOf('TopK', [logits, builder.ints([k])], 2, { axis: -1 }) as [string, string];
  const probabilities = builder.node('Softmax', [logits], { axis: -1 });
  const best = builder.node('GatherElements', [probabilities, ids], { axis: -1 });
  // entropy = log Σ exp(logit) − Σ p · logit, and log Σ exp(logit) = top logit − log of its probability.
  const first = (x: string): string =>
    builder.node('Slice', [x, builder.ints([0]), builder.ints([1]), builder.ints([-1])]);
  const logSum = builder.node('Sub', [first(top), builder.node('Log', [first(best)])]);
  const expected = builder.node('ReduceSum', [builder.node('Mul', [probabilities, logits]), builder.ints([-1])], {
    keepdims: 1,
  });
  builder.output(ids, 'classes', 'int64', ['batch', 'tokens', k]);
  builder.output(best, 'probabilities', 'float32', ['batch', 'tokens', k]);
  builder.output(builder.node('Sub', [logSum, expected]), 'entropy', 'float32', ['batch', 'tokens', 1]);
  builder.output(logits, 'logits', 'float32', ['batch', 'tokens', classes]);
  return builder.build();
}

/**
 * An exit's judgement of known text, without a past: `loss` of the class in `targets` `[batch, tokens, 1]`, its
 * `classes` `[batch, tokens, k]` and `probabilities` as in a readout.
 */
export function scoringGraph(
  spec: ModelSpec,
  parameters: Parameters,
  exit: ExitSpec | null,
  target: GraphTarget,
): BuiltGraph {
  const builder = new GraphBuilder();
  const { logits, classes } = logitsOf(builder, spec, parameters, exit, { ...target, past: false }, exitLogits);
  const k = Math.min(candidateCount, classes);
  const targets = builder.input('targets', 'int64', ['batch', 'tokens', 1]);
  const logProbabilities = logSoftmax(builder, logits, target);
  const loss = builder.node('Neg', [builder.node('GatherElements', [logProbabilities, targets], { axis: -1 })]);
  const [top, ids] = builder.nodeOf('TopK', [logProbabilities, builder.ints([k])], 2, { axis: -1 }) as [string, string];
  builder.output(loss, 'loss', 'float32', ['batch', 'tokens', 1]);
  builder.output(ids, 'classes', 'int64', ['batch', 'tokens', k]);
  builder.output(builder.node('Exp', [top]), 'probabilities', 'float32', ['batch', 'tokens', k]);
  return builder.build();
}

function logSoftmax(builder: GraphBuilder, logits: string, { provider = 'cpu' }: GraphTarget): string {
  if (operatorsOf[provider].logSoftmax === 'LogSoftmax') return builder.node('LogSoftmax', [logits], { axis: -1 });
  // logit − max − log Σ exp(logit − max): the logarithm of a Softmax would lose small probabilities.
  const axes = builder.ints([-1]);
  const shifted = builder.node('Sub', [logits, builder.node('ReduceMax', [logits, axes], { keepdims: 1 })]);
  const sum = builder.node('ReduceSum', [builder.node('Exp', [shifted]), axes], { keepdims: 1 });
  return builder.node('Sub', [shifted, builder.node('Log', [sum])]);
}

function logitsOf(
  builder: GraphBuilder,
  spec: ModelSpec,
  parameters: Parameters,
  exit: ExitSpec | null,
  options: GraphOptions,
  logitsFrom: typeof exitLogits,
): { logits: string; classes: number } {
  const ops = graphOps(builder, parameters, options);
  const cut = exit ? exitCut(exit) : finalCut(spec);
  const x = builder.input('stream', 'float32', ['batch', 'tokens', cutWidth(spec, cut)]);
  const logits = exit ? logitsFrom(ops, spec, exit, x) : finalLogits(ops, spec, x);
  const classes = exit?.head.kind === 'shortlist' ? exit.head.tokens.length + 1 : spec.vocabulary;
  return { logits, classes };
}
