/**
 * One pass through a whole model, forward and backward, as a compiled graph: its inputs and outputs, by name. Knows no values and no
 * updates.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { record, type InputSpec } from '../../autodiff/recorder.ts';
import { exitParameters, type ExitParameter, type ParameterShapes } from '../../exits/parameters.ts';
import { exitId, shortlistIndex, shortlistsOf, type ExitSpec } from '../../exits/spec.ts';
import type { ModelSpec } from '../../model/spec.ts';
import type { Value } from '../../onnx/session.ts';
import { chunkTokens, listMask, targetPairs } from '../objective.ts';
import { shortlistClasses } from '../step/plan.ts';
import type { ObjectiveOptions } from '../step/types.ts';
import { wholeGradients } from './gradients.ts';

/** Id of the final exit among losses and norms: its norm is that of the model's own gradients. */
export const finalId = 'final';

export interface WholeGraphOptions {
  readonly spec: ModelSpec;
  readonly exits: readonly ExitSpec[];
  readonly model: ParameterShapes;
  /** The model's parameters behind the embedding, by our names. */
  readonly names: readonly string[];
  readonly objective: ObjectiveOptions;
  /** Windows of a pass, and positions of a window. */
  readonly batch: number;
  readonly tokens: number;
}

export interface WholeGraph {
  /** Ids of all losses, in the order in which `losses` and `crossEntropies` have them; the final exit's last. */
  readonly ids: readonly string[];
  readonly ofExits: readonly ExitParameter[];
  /** Answers `losses`, `crossEntropies`, and `gradient of NAME` of `embedded` and of every parameter. */
  build(): ReturnType<typeof record>;
  /** All inputs but parameters. `targets` `[batch, tokens]`: −1 if there is none. */
  feeds(embedded: Float32Array, targets: Int32Array, exitWeights: ReadonlyMap<string, number>): Record<string, Value>;
  /** A parameter as an input. */
  feed(name: string, data: Float32Array): Record<string, Value>;
}

/**
 * Estimated bytes of training here: values, gradients, moments and outputs of a pass for `trained` numbers; and what each layer keeps for
 * the backward pass, mainly its attention weights.
 */
export function wholeBytes(
  { layers, hidden, feedForward, heads }: ModelSpec,
  trained: number,
  batch: number,
  tokens: number,
): number {
  const kept = tokens * (14 * hidden + 4 * feedForward) + 3 * heads * tokens ** 2;
  return 20 * trained + 4 * layers.length * batch * kept;
}

export function wholeGraph(options: WholeGraphOptions): WholeGraph {
  const { spec, exits, model, names, objective, batch, tokens } = options;
  const ids = [...exits.map(exitId), finalId];
  const ofExits = exits.flatMap((exit) => exitParameters(spec, exit, model));
  const chunk = chunkTokens(spec.vocabulary);
  const classes = exits.map((exit) => shortlistClasses(exit, spec.vocabulary));
  // Exits with the same list share its tensor, and so the teacher's targets for it.
  const lists = shortlistsOf(exits);
  const distils = objective.distillation > 0;

  const inputs: Record<string, InputSpec> = {
    embedded: { shape: [batch, tokens, spec.hidden] },
    weights: { shape: [batch * tokens, 1] },
    exitWeights: { shape: [exits.length] },
  };
  for (const id of ids) inputs[`targets ${id}`] = { shape: [batch * tokens, 2], dtype: 'int32' };
  for (const [i, list] of lists.entries()) {
    inputs[`list ${i}`] = { shape: [list.length], dtype: 'int32' };
    if (distils) inputs[`mask ${i}`] = { shape: [spec.vocabulary, 2] };
  }
  for (const name of names) inputs[name] = { shape: model.shape(name) };
  for (const { name, shape } of ofExits) inputs[name] = { shape };
  const valueOf = (name: string, data: Value['data']): Value => ({ data, shape: inputs[name]!.shape as number[] });

  const compute = (tensors: Record<string, tf.Tensor>): Record<string, tf.Tensor> => {
    const named = (wanted: readonly string[]): Map<string, tf.Tensor> =>
      new Map(wanted.map((name) => [name, tensors[name]!]));
    const given = {
      embedded: tensors['embedded']!,
      parameters: named([...names, ...ofExits.map(({ name }) => name)]),
      exits: exits.map((exit) => {
        const list = shortlistIndex(exit, lists);
        const shortlist = list === null ? null : tensors[`list ${list}`]!;
        return { exit, targets: tensors[`targets ${exitId(exit)}`]!, shortlist };
      }),
      masks: new Map(distils ? lists.map((_, i) => [tensors[`list ${i}`]!, tensors[`mask ${i}`]!]) : []),
      targets: tensors[`targets ${finalId}`]!,
      weights: tensors['weights']!,
      exitWeights: tensors['exitWeights']!,
    };
    const { losses, crossEntropies, embedded, gradients } = wholeGradients(spec, given, objective, chunk);
    const each = [...gradients].map(([name, gradient]) => [`gradient of ${name}`, gradient] as const);
    return { losses, crossEntropies, 'gradient of embedded': embedded, ...Object.fromEntries(each) };
  };

  return {
    ids,
    ofExits,
    build: () => record(inputs, compute),
    feed: (name, data) => ({ [name]: valueOf(name, data) }),
    feeds(embedded, targets, exitWeights) {
      const data: Record<string, Value['data']> = {
        embedded,
        weights: Float32Array.from(targets, (token) => Number(token >= 0)),
        exitWeights: Float32Array.from(exits, (exit) => exitWeights.get(exitId(exit))!),
      };
      for (const [i, id] of ids.entries()) {
        const own = classes[i] ?? null;
        const wanted = targets.map((token) => (token < 0 ? 0 : own ? own[token]! : token));
        data[`targets ${id}`] = targetPairs(wanted, chunk);
      }
      for (const [i, list] of lists.entries()) {
        data[`list ${i}`] = Int32Array.from(list);
        if (distils) data[`mask ${i}`] = listMask(list, spec.vocabulary);
      }
      return Object.fromEntries(Object.entries(data).map(([name, values]) => [name, valueOf(name, values)]));
    },
  };
}
