/** The step's engine on a tfjs backend: the same functions as the compiled one, computed at once, parameters on the device. */
import * as tf from '@tensorflow/tfjs-core';
import { withBackend } from '../../autodiff/recorder.ts';
import { chunkTokens, targetPairs } from '../objective.ts';
import { adamW, decays, updateNumbers, type UpdateScalars } from './optimiser.ts';
import type { StepEngine } from './engine.ts';
import type { StepBatch } from '../../features/features.ts';
import type { Teaching } from '../../runtime/staged-model.ts';
import { groupGradients, sumOfSquares, type ExitTensors } from './gradients.ts';
import {
  featuresOf,
  finalOf,
  gapOf,
  namesOf,
  requireValues,
  targetClasses,
  targetWeights,
  type PlannedExit,
  type StepOptions,
  type StepPlan,
} from './plan.ts';
import { surpriseAt } from './teacher.ts';
import type { StepState } from '../../checkpoint/checkpoint.ts';

export interface EagerOptions {
  /** Name of a registered, ready tfjs backend. */
  readonly backend: string;
  /** Tokens whose logits are in memory at a time; by default as many as fit. */
  readonly chunk?: number;
}

type Tensors = Map<string, tf.Tensor>;
const parts = ['parameters', 'firstMoments', 'secondMoments'] as const;

export function eagerEngine(plan: StepPlan, options: StepOptions & EagerOptions): StepEngine<Tensors> {
  const { spec, initial, model, optimiser, backend } = options;
  const chunk = options.chunk ?? chunkTokens(plan.widest);
  const on = <T>(compute: () => T): T => withBackend(backend, compute);
  const listed = plan.exits.flatMap(({ parameters }) => parameters);
  const shapes = new Map(listed.map(({ name, shape }) => [name, [...shape]]));
  const live = on(() => ({
    parameters: new Map([...shapes].map(([name, shape]) => [name, tf.tensor(initial.get(name)!.slice(), shape)])),
    firstMoments: new Map([...shapes].map(([name, shape]) => [name, tf.fill(shape, 0)])),
    secondMoments: new Map([...shapes].map(([name, shape]) => [name, tf.fill(shape, 0)])),
  })) satisfies Record<(typeof parts)[number], Tensors>;
  const frozen: Tensors = on(
    () =>
      new Map(
        [...new Set(plan.exits.flatMap((planned) => planned.frozen))].map((name) => [
          name,
          tf.tensor(model.values(name), [...model.shape(name)]),
        ]),
      ),
  );
  const replace = (part: (typeof parts)[number], name: string, tensor: tf.Tensor): void => {
    live[part].get(name)!.dispose();
    live[part].set(name, tf.keep(tensor));
  };

  return {
    async differentiate(group, batch) {
      const taught = plan.distils ? await options.teach(batch) : null;
      const { losses, crossEntropies, squares, gradients } = on(() =>
        groupPass({ ...options, plan, chunk }, live.parameters, frozen, group, batch, taught),
      );
      const read = [losses, crossEntropies, squares];
      const [lossValues, crossEntropyValues, squareValues] = await Promise.all(read.map((tensor) => tensor.data()));
      tf.dispose(read);
      const final = taught && surpriseAt(taught, batch.targets);
      return group.map((planned, i) => ({
        loss: lossValues![i]!,
        crossEntropy: crossEntropyValues![i]!,
        gap: final && gapOf(crossEntropyValues![i]!, final, batch, planned, spec.vocabulary),
        squares: squareValues![i]!,
        gradient: select(gradients as Tensors, namesOf(planned)),
      }));
    },

    async accumulate(total, gradient, factor) {
      const sums: Tensors = new Map();
      const squares = on(() =>
        tf.tidy(() => {
          for (const [name, value] of gradient) {
            const scaled = tf.mul(value, factor);
            sums.set(name, tf.keep(total ? tf.add(total.get(name)!, scaled) : scaled));
          }
          return [...sums.values()].map(sumOfSquares).reduce((sum, each) => tf.add(sum, each));
        }),
      );
      tf.dispose([...gradient.values(), ...(total?.values() ?? [])]);
      const [value] = await squares.data();
      squares.dispose();
      return { squares: value!, gradient: sums };
    },

    async apply(planned, gradient, scale, learningRate, update) {
      on(() => {
        for (const { name, shape } of planned.parameters) {
          const numbers = updateNumbers(optimiser, update, learningRate, scale, decays(optimiser, shape));
          const before = {
            parameter: live.parameters.get(name)!,
            first: live.firstMoments.get(name)!,
            second: live.secondMoments.get(name)!,
          };
          const next = tf.tidy(() => ({ ...adamW(optimiser, before, gradient.get(name)!, scalarsOf(numbers)) }));
          replace('parameters', name, next.parameter);
          replace('firstMoments', name, next.first);
          replace('secondMoments', name, next.second);
        }
      });
      tf.dispose([...gradient.values()]);
    },

    discard(gradient) {
      tf.dispose([...gradient.values()]);
    },

    async state() {
      return {
        parameters: await valuesOf(live.parameters),
        firstMoments: await valuesOf(live.firstMoments),
        secondMoments: await valuesOf(live.secondMoments),
      };
    },

    async restore(state: StepState) {
      on(() => {
        for (const part of parts) {
          for (const [name, shape] of shapes) {
            const values = requireValues(state[part], name, live[part].get(name)!.size);
            replace(part, name, tf.tensor(Float32Array.from(values), shape));
          }
        }
      });
    },

    async dispose() {
      for (const tensors of [frozen, ...parts.map((part) => live[part])]) tf.dispose([...tensors.values()]);
    },
  };
}

type PassOptions = Pick<StepOptions, 'spec' | 'objective'> & {
  readonly plan: StepPlan;
  readonly chunk: number;
};

/** Losses and gradients of a group of exits on a batch. The tensors made of the batch are disposed of again. */
function groupPass(
  { plan, spec, objective, chunk }: PassOptions,
  parameters: Tensors,
  frozen: Tensors,
  group: readonly PlannedExit[],
  batch: StepBatch,
  taught: Teaching | null,
): ReturnType<typeof groupGradients> {
  const size = [batch.batch, batch.tokens];
  const positions = batch.batch * batch.tokens;
  const inputs: tf.Tensor[] = [];
  const input = (values: Float32Array | Int32Array, shape: number[]): tf.Tensor => {
    const tensor = tf.tensor(values, shape, values instanceof Int32Array ? 'int32' : 'float32');
    inputs.push(tensor);
    return tensor;
  };
  const weights = input(targetWeights(batch), [positions, 1]);
  const lists = plan.lists.map((list) => input(Int32Array.from(list), [list.length]));
  const exits = group.map((planned): ExitTensors => ({
    exit: planned.exit,
    features: input(featuresOf(batch, planned), [...size, featuresOf(batch, planned).length / positions]),
    trained: select(parameters, namesOf(planned)),
    frozen: select(frozen, planned.frozen),
    targets: input(targetPairs(targetClasses(batch, planned), chunk), [positions, 2]),
    weights,
    shortlist: planned.list === null ? null : lists[planned.list]!,
  }));
  const final = taught && {
    state: input(finalOf(batch), [...size, spec.hidden]),
    shares: new Map(lists.map((list, i) => [list, input(taught.shares[i]!, [positions, 2])])),
  };
  const result = groupGradients(spec, exits, final, objective, chunk);
  tf.dispose(inputs);
  return result;
}

const select = (tensors: Tensors, names: readonly string[]): Tensors =>
  new Map(names.map((name) => [name, tensors.get(name)!]));

const scalarsOf = ({ scale, stepSize, varianceScale, keep }: ReturnType<typeof updateNumbers>): UpdateScalars => ({
  scale: tf.scalar(scale),
  stepSize: tf.scalar(stepSize),
  varianceScale: tf.scalar(varianceScale),
  keep: tf.scalar(keep),
});

const floatsOf = async (tensor: tf.Tensor): Promise<Float32Array> => Float32Array.from(await tensor.data());

async function valuesOf(tensors: Tensors): Promise<Map<string, Float32Array>> {
  const values = new Map<string, Float32Array>();
  for (const [name, tensor] of tensors) values.set(name, await floatsOf(tensor));
  return values;
}
