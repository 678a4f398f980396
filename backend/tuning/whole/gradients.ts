/**
 * Loss and gradients of a whole model with its exits as one tfjs function, to be recorded: embedded tokens → layers, written once over `Ops` →
 * the state at every exit and the final one → head losses, and back through everything. Knows neither files nor updates.
 */
import * as tf from '@tensorflow/tfjs-core';
import { tensorOps } from '../../autodiff/ops.ts';
import { exitState, headPath } from '../../exits/forward.ts';
import { exitCut } from '../../exits/architectures.ts';
import type { ExitSpec } from '../../exits/spec.ts';
import { finalState, stage } from '../../model/layer.ts';
import { compareCuts, cutName, finalCut, inputCut, type Cut, type ModelSpec } from '../../model/spec.ts';
import { headLosses, listShares, type HeadTask, type Teacher } from '../objective.ts';
import type { ObjectiveOptions } from '../step/types.ts';

export interface WholeTensors {
  /** `[batch, tokens, hidden]`: what enters the first layer. */
  readonly embedded: tf.Tensor;
  /** Every parameter behind it, the model's and the exits', by our names. */
  readonly parameters: ReadonlyMap<string, tf.Tensor>;
  /** In the order of the stream; see `HeadTask`. */
  readonly exits: readonly {
    readonly exit: ExitSpec;
    readonly targets: tf.Tensor;
    readonly shortlist: tf.Tensor | null;
  }[];
  /** By the tensor of a shortlist: `listMask`. */
  readonly masks: ReadonlyMap<tf.Tensor, tf.Tensor>;
  /** Of the final exit. */
  readonly targets: tf.Tensor;
  readonly weights: tf.Tensor;
  /** `[exits]`. */
  readonly exitWeights: tf.Tensor;
}

export interface WholeGradients {
  /** Summed over target tokens, the final exit's last: `[exits + 1]`. */
  readonly losses: tf.Tensor;
  readonly crossEntropies: tf.Tensor;
  /** Of the final exit's cross-entropy + Σ exit weight · exit loss, summed over target tokens. */
  readonly embedded: tf.Tensor;
  /** By the names of `parameters`. */
  readonly gradients: ReadonlyMap<string, tf.Tensor>;
}

const finalObjective: ObjectiveOptions = { crossEntropy: 1, distillation: 0, weighting: 'uniform' };

/** The teacher is the final exit as it is: what exits learn from it sends nothing back to it. */
export function wholeGradients(
  spec: ModelSpec,
  given: WholeTensors,
  objective: ObjectiveOptions,
  chunk: number,
): WholeGradients {
  const names = [...given.parameters.keys()];
  const found: { losses: tf.Tensor; crossEntropies: tf.Tensor }[] = [];
  const total = (embedded: tf.Tensor, ...current: tf.Tensor[]): tf.Scalar => {
    const table = new Map(names.map((name, i) => [name, current[i]!]));
    const ops = tensorOps(table);
    const states = statesOf(spec, table, embedded, [...given.exits.map(({ exit }) => exitCut(exit)), finalCut(spec)]);
    const rows = (state: tf.Tensor): tf.Tensor => tf.reshape(state, [-1, spec.hidden]);
    const final = rows(finalState(ops, spec, states.get(cutName(finalCut(spec)))!));
    const headOf = (path: string): Pick<HeadTask, 'head' | 'bias'> => ({
      head: table.get(`${path}.weight`)!,
      bias: table.get(`${path}.bias`) ?? null,
    });
    const common = { trained: true, weights: given.weights };
    const own: HeadTask = { ...common, state: final, ...headOf('lm_head'), targets: given.targets, shortlist: null };
    const tasks = given.exits.map(({ exit, targets, shortlist }): HeadTask => {
      const state = rows(exitState(ops, spec, exit, states.get(cutName(exitCut(exit)))!));
      return { ...common, state, ...headOf(headPath(exit)), targets, shortlist };
    });
    const head = { state: final, ...headOf('lm_head') };
    const sharesOf = (mask: tf.Tensor): tf.Tensor => listShares(final, head, mask, spec.finalSoftcap, chunk);
    const teacher: Teacher | null =
      objective.distillation > 0
        ? { ...head, shares: new Map([...given.masks].map(([list, mask]) => [list, sharesOf(mask)])) }
        : null;
    const exits = headLosses(tasks, teacher, objective, spec.finalSoftcap, chunk);
    const last = headLosses([own], null, finalObjective, spec.finalSoftcap, chunk);
    found.push(exits, last);
    for (const each of found) for (const tensor of Object.values(each)) tf.keep(tensor);
    return tf.add(tf.sum(last.losses), tf.sum(tf.mul(exits.losses, given.exitWeights)));
  };
  const { value, grads } = tf.valueAndGrads(total)([given.embedded, ...given.parameters.values()]);
  value.dispose();
  const joined = (kind: 'losses' | 'crossEntropies'): tf.Tensor => tf.concat(found.map((each) => each[kind]));
  return {
    losses: joined('losses'),
    crossEntropies: joined('crossEntropies'),
    embedded: grads[0]!,
    gradients: new Map(names.map((name, i) => [name, grads[i + 1]!])),
  };
}

/** The values at some cuts, by name. */
function statesOf(
  spec: ModelSpec,
  table: ReadonlyMap<string, tf.Tensor>,
  embedded: tf.Tensor,
  cuts: readonly Cut[],
): Map<string, tf.Tensor> {
  const ops = tensorOps(table);
  const states = new Map<string, tf.Tensor>();
  let value = embedded;
  let from = inputCut;
  for (const cut of [...cuts].sort(compareCuts)) {
    if (states.has(cutName(cut))) continue;
    value = stage(ops, spec, from, cut, value);
    states.set(cutName(cut), value);
    from = cut;
  }
  return states;
}
