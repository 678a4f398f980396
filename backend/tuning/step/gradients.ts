/**
 * Loss and gradients of a group of exits as one tfjs function, eager or recorded: features → exit state → head loss, and back. Knows
 * neither where tensors are stored nor how an update is made.
 */
import * as tf from '@tensorflow/tfjs-core';
import { tensorOps } from '../../autodiff/ops.ts';
import { exitState, headPath } from '../../exits/forward.ts';
import type { ExitSpec } from '../../exits/spec.ts';
import type { ModelSpec } from '../../model/spec.ts';
import { headLosses, type HeadLosses, type HeadTask, type Teacher } from '../objective.ts';
import type { ObjectiveOptions } from './types.ts';

/** One exit of a group and its tensors. */
export interface ExitTensors {
  readonly exit: ExitSpec;
  /** The stream at the exit's cut: `[batch, tokens, width]`. */
  readonly features: tf.Tensor;
  /** By full name; a gradient is returned for each. */
  readonly trained: ReadonlyMap<string, tf.Tensor>;
  readonly frozen: ReadonlyMap<string, tf.Tensor>;
  /** See `HeadTask`. */
  readonly targets: tf.Tensor;
  readonly weights: tf.Tensor;
  /** The same tensor for exits with the same list. */
  readonly shortlist: tf.Tensor | null;
}

/** What exits learn from. */
export interface FinalTensors {
  /** `[batch, tokens, hidden]`. */
  readonly state: tf.Tensor;
  readonly shares: Teacher['shares'];
}

export interface GroupGradients extends HeadLosses {
  /** Sum of the squares of each exit's gradient: `[exits]`. */
  readonly squares: tf.Tensor;
  /** Gradients of those sums by parameter name, of all exits. */
  readonly gradients: ReadonlyMap<string, tf.Tensor>;
}

/**
 * Differentiates the summed loss of every exit of a group. Exits send no gradients to each other, so the gradients are each
 * exit's own. `final` is null unless distilling. The caller disposes of what it gets.
 */
export function groupGradients(
  spec: ModelSpec,
  group: readonly ExitTensors[],
  final: FinalTensors | null,
  objective: ObjectiveOptions,
  chunk: number,
): GroupGradients {
  const names = group.flatMap(({ trained }) => [...trained.keys()]);
  const values = group.flatMap(({ trained }) => [...trained.values()]);
  let found: HeadLosses | null = null;
  const total = (...current: tf.Tensor[]): tf.Scalar => {
    const byName = new Map(names.map((name, i) => [name, current[i]!]));
    const tasks = group.map((each): HeadTask => {
      const table = new Map([...each.frozen, ...byName]);
      const state = exitState(tensorOps(table), spec, each.exit, each.features);
      return {
        state: tf.reshape(state, [-1, spec.hidden]),
        head: table.get(`${headPath(each.exit)}.weight`)!,
        bias: table.get(`${headPath(each.exit)}.bias`) ?? null,
        trained: each.exit.head.kind !== 'shared',
        targets: each.targets,
        weights: each.weights,
        shortlist: each.shortlist,
      };
    });
    const teacher: Teacher | null = final && {
      state: tf.reshape(final.state, [-1, spec.hidden]),
      head: group[0]!.frozen.get('lm_head.weight')!,
      bias: group[0]!.frozen.get('lm_head.bias') ?? null,
      shares: final.shares,
    };
    found = headLosses(tasks, teacher, objective, spec.finalSoftcap, chunk);
    for (const tensor of Object.values(found) as tf.Tensor[]) tf.keep(tensor);
    return tf.sum(found.losses);
  };
  const { value, grads } = tf.valueAndGrads(total)(values);
  value.dispose();
  const gradients = new Map(names.map((name, i) => [name, grads[i]!]));
  const squares = tf.tidy(() =>
    tf.concat(
      group.map(({ trained }) => {
        const squares = [...trained.keys()].map((name) => sumOfSquares(gradients.get(name)!));
        return tf.reshape(
          squares.reduce((sum, each) => tf.add(sum, each)),
          [1],
        );
      }),
    ),
  );
  return { ...found!, squares, gradients };
}

/** Sums along rows first: one long sum of float32 loses digits. */
export const sumOfSquares = (x: tf.Tensor): tf.Tensor => tf.sum(tf.sum(tf.square(x), -1));
