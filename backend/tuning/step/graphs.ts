/** The pass of a group of exits as a graph: its inputs, and the tfjs functions recorded. Exits of one kind give the same graph. */
import type * as tf from '@tensorflow/tfjs-core';
import { record, type InputSpec } from '../../autodiff/recorder.ts';
import { exitCut } from '../../exits/architectures.ts';
import { exitPath } from '../../exits/spec.ts';
import { layerPath } from '../../model/layer.ts';
import { cutWidth } from '../../model/spec.ts';
import type { StepBatch } from '../../features/features.ts';
import type { Value } from '../../onnx/session.ts';
import type { Teaching } from '../../runtime/staged-model.ts';
import { targetPairs } from '../objective.ts';
import { groupGradients, type ExitTensors } from './gradients.ts';
import {
  featuresOf,
  finalOf,
  namesOf,
  targetClasses,
  targetWeights,
  type PlannedExit,
  type StepOptions,
  type StepPlan,
} from './plan.ts';

export type RecordedGraph = ReturnType<typeof record>;

/** What all passes of a run have in common. */
export interface PassOptions extends Pick<StepOptions, 'spec' | 'model' | 'objective'> {
  readonly plan: StepPlan;
  /** Largest numbers of sequences in a batch, and of positions in a sequence. */
  readonly batch: number;
  readonly tokens: number;
  /** Tokens whose logits are in memory at a time. */
  readonly chunk: number;
}

/** Names and shapes of the inputs of a group's graph; groups with equal keys have equal graphs. */
export interface PassDescription {
  readonly key: string;
  readonly inputs: Record<string, InputSpec>;
}

export function describePass(
  { plan, spec, model, batch, tokens }: PassOptions,
  group: readonly PlannedExit[],
): PassDescription {
  const positions = batch * tokens;
  const inputs: Record<string, InputSpec> = { weights: { shape: [positions, 1] } };
  if (plan.distils) {
    inputs['final'] = { shape: [batch, tokens, spec.hidden] };
  }
  const kinds = group.map((planned, i) => {
    inputs[`features${i}`] = { shape: [batch, tokens, cutWidth(spec, exitCut(planned.exit))] };
    inputs[`targets${i}`] = { shape: [positions, 2], dtype: 'int32' };
    if (planned.list !== null) {
      inputs[`shortlist${planned.list}`] = { shape: [plan.lists[planned.list]!.length], dtype: 'int32' };
      if (plan.distils) inputs[`shares${planned.list}`] = { shape: [positions, 2] };
    }
    for (const { name, shape } of planned.parameters) inputs[graphName(planned, i, name)] = { shape };
    for (const name of planned.frozen) inputs[graphName(planned, i, name)] = { shape: model.shape(name) };
    return `${planned.exit.architecture}/${planned.exit.head.kind}`;
  });
  return { key: JSON.stringify([kinds, inputs]), inputs };
}

/** The values of a graph's inputs for a padded batch; `values`: of a parameter, trained or frozen. */
export function passFeeds(
  { plan, chunk }: PassOptions,
  group: readonly PlannedExit[],
  inputs: PassDescription['inputs'],
  padded: StepBatch,
  taught: Teaching | null,
  values: (name: string) => Float32Array,
): Record<string, Value> {
  const feeds: Record<string, Value> = {};
  const feed = (name: string, data: Value['data']): void => {
    feeds[name] = { data, shape: inputs[name]!.shape as number[] };
  };
  feed('weights', targetWeights(padded));
  if (taught) feed('final', finalOf(padded));
  for (const [i, planned] of group.entries()) {
    feed(`features${i}`, featuresOf(padded, planned));
    feed(`targets${i}`, targetPairs(targetClasses(padded, planned), chunk));
    if (planned.list !== null) {
      feed(`shortlist${planned.list}`, Int32Array.from(plan.lists[planned.list]!));
      if (taught) feed(`shares${planned.list}`, taught.shares[planned.list]!);
    }
    for (const name of [...namesOf(planned), ...planned.frozen]) feed(graphName(planned, i, name), values(name));
  }
  return feeds;
}

/** Losses, their squared gradients' sums, and gradients by `gradientName`. */
export function recordPass(
  { plan, spec, objective, chunk }: PassOptions,
  group: readonly PlannedExit[],
  inputs: Record<string, InputSpec>,
): RecordedGraph {
  return record(inputs, (tensors) => {
    const named = (planned: PlannedExit, i: number, names: readonly string[]): Map<string, tf.Tensor> =>
      new Map(names.map((name) => [name, tensors[graphName(planned, i, name)]!]));
    const exits = group.map((planned, i): ExitTensors => ({
      exit: planned.exit,
      features: tensors[`features${i}`]!,
      trained: named(planned, i, namesOf(planned)),
      frozen: named(planned, i, planned.frozen),
      targets: tensors[`targets${i}`]!,
      weights: tensors['weights']!,
      shortlist: tensors[`shortlist${planned.list}`] ?? null,
    }));
    const shares = plan.lists.flatMap((_, list): [tf.Tensor, tf.Tensor][] => {
      const [shortlist, taught] = [tensors[`shortlist${list}`], tensors[`shares${list}`]];
      return shortlist && taught ? [[shortlist, taught]] : [];
    });
    const final = plan.distils ? { state: tensors['final']!, shares: new Map(shares) } : null;
    const result = groupGradients(spec, exits, final, objective, chunk);
    const gradients = group.flatMap((planned, i) =>
      namesOf(planned).map((name): [string, tf.Tensor] => [
        gradientName(planned, i, name),
        result.gradients.get(name)!,
      ]),
    );
    const { losses, crossEntropies, squares } = result;
    return { losses, crossEntropies, squares, ...Object.fromEntries(gradients) };
  });
}

/** A name that is the same for exits of one kind, whatever their layer. */
export function graphName({ exit }: PlannedExit, i: number, name: string): string {
  for (const [path, short] of [
    [exitPath(exit), `exit${i}`],
    [layerPath(exit.layer), `layer${i}`],
  ] as const) {
    if (name.startsWith(`${path}.`)) return short + name.slice(path.length);
  }
  return name;
}

export const gradientName = (planned: PlannedExit, i: number, name: string): string =>
  `gradient of ${graphName(planned, i, name)}`;
