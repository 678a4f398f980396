/** The loss in chunks and its gradients against a loop over tokens in float64 that a reader can check. */
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import '../../../backend/autodiff/gradients.ts';
import {
  chunkTokens,
  headLosses,
  listMask,
  listShares,
  targetPairs,
  type HeadLosses,
} from '../../../backend/tuning/objective.ts';
import type { ObjectiveOptions } from '../../../backend/tuning/step/types.ts';
import { numbers } from '../autodiff/numbers.ts';

const tokens = 7;
const hidden = 4;
const vocabulary = 6;
const shortlist = [4, 1, 3];
const targets = [0, 4, -1, 3, 5, 1, 2];

interface Problem {
  readonly state: Float64Array;
  readonly head: Float64Array;
  readonly bias: Float64Array | null;
  readonly listed: boolean;
}

const scaled = (count: number, seed: number): Float64Array => Float64Array.from(numbers(count, seed), (x) => 3 * x);
const final = scaled(tokens * hidden, 11);
const finalHead = scaled(vocabulary * hidden, 12);
/** Of the model's head. */
const bias = scaled(vocabulary, 13);

function probabilities(
  state: Float64Array,
  head: Float64Array,
  bias: Float64Array | null,
  token: number,
  softcap: number | null,
): number[] {
  const classes = head.length / hidden;
  const logits = Array.from({ length: classes }, (_, c) => {
    let logit = bias ? bias[c]! : 0;
    for (let j = 0; j < hidden; j++) logit += state[token * hidden + j]! * head[c * hidden + j]!;
    return softcap === null ? logit : softcap * Math.tanh(logit / softcap);
  });
  const sum = logits.reduce((total, logit) => total + Math.exp(logit), 0);
  return logits.map((logit) => Math.exp(logit) / sum);
}

/** A token's weight is its exit's detached max probability, so it is computed from `fixed`, which differences leave alone. */
function reference(problem: Problem, fixed: Problem, options: ObjectiveOptions, softcap: number | null): number {
  let total = 0;
  targets.forEach((target, token) => {
    if (target < 0) return;
    const p = probabilities(problem.state, problem.head, problem.bias, token, softcap);
    const whole = probabilities(final, finalHead, bias, token, softcap);
    const wise = problem.listed
      ? [...shortlist.map((id) => whole[id]!), whole.reduce((sum, x, id) => sum + (shortlist.includes(id) ? 0 : x), 0)]
      : whole;
    const place = shortlist.indexOf(target);
    const label = problem.listed ? (place < 0 ? shortlist.length : place) : target;
    const crossEntropy = -Math.log(p[label]!);
    const divergence = wise.reduce((sum, q, c) => sum + q * Math.log(q / p[c]!), 0);
    const before = probabilities(fixed.state, fixed.head, fixed.bias, token, softcap);
    const weight = options.weighting === 'uniform' ? 1 : Math.max(...(problem.listed ? before.slice(0, -1) : before));
    total += weight * (options.crossEntropy * crossEntropy + options.distillation * divergence);
  });
  return total;
}

function computed(
  problems: Problem[],
  trained: boolean,
  options: ObjectiveOptions,
  softcap: number | null,
  chunk: number,
  teacherChunk = chunk,
): {
  losses: number[];
  crossEntropies: number[];
  gradients: Float32Array[];
} {
  return tf.tidy(() => {
    const tensors = problems.flatMap(({ state, head }) => [
      tf.tensor(Float32Array.from(state), [tokens, hidden]),
      tf.tensor(Float32Array.from(head), [head.length / hidden, hidden]),
    ]);
    const teacher = {
      state: tf.tensor(Float32Array.from(final), [tokens, hidden]),
      head: tf.tensor(Float32Array.from(finalHead), [vocabulary, hidden]),
      bias: tf.tensor(Float32Array.from(bias)),
    };
    const list = tf.tensor(shortlist, [3], 'int32');
    const mask = tf.tensor(listMask(shortlist, vocabulary), [vocabulary, 2]);
    const shares = new Map([[list, listShares(teacher.state, teacher, mask, softcap, teacherChunk)]]);
    const lossesOf = (...values: tf.Tensor[]): HeadLosses =>
      headLosses(
        problems.map(({ listed, bias: own }, i) => {
          const classes = targets.map((id) => (id < 0 ? 0 : listed ? (shortlist.indexOf(id) + 4) % 4 : id));
          return {
            state: values[2 * i]!,
            head: values[2 * i + 1]!,
            bias: own && tf.tensor(Float32Array.from(own)),
            trained,
            targets: tf.tensor(targetPairs(Int32Array.from(classes), chunk), [tokens, 2], 'int32'),
            weights: tf.tensor(
              targets.map((id) => (id < 0 ? 0 : 1)),
              [tokens, 1],
            ),
            shortlist: listed ? list : null,
          };
        }),
        { ...teacher, shares },
        options,
        softcap,
        chunk,
      );
    // Different factors show that each loss sends back its own gradient.
    const factors = tf.tensor(problems.map((_, i) => i + 1));
    const differentiated = trained ? tensors : tensors.filter((_, i) => i % 2 === 0);
    const gradients = tf.grads((...values) =>
      tf.sum(
        tf.mul(
          lossesOf(...(trained ? values : tensors.map((each, i) => (i % 2 ? each : values[i / 2]!)))).losses,
          factors,
        ),
      ),
    )(differentiated);
    const { losses, crossEntropies } = lossesOf(...tensors);
    return {
      losses: [...losses.dataSync()],
      crossEntropies: [...crossEntropies.dataSync()],
      gradients: gradients.map((gradient) => gradient.dataSync() as Float32Array),
    };
  });
}

/** A head over the vocabulary, and one over three listed tokens and the defer class. */
const whole: Problem = { state: scaled(tokens * hidden, 1), head: scaled(vocabulary * hidden, 2), bias, listed: false };
const short: Problem = { state: scaled(tokens * hidden, 3), head: scaled(4 * hidden, 4), bias: null, listed: true };

beforeAll(async () => {
  await tf.setBackend('cpu');
});

describe.each([
  ['cross-entropy', { crossEntropy: 1, distillation: 0 }],
  ['divergence', { crossEntropy: 0, distillation: 1 }],
  ['both', { crossEntropy: 0.7, distillation: 0.5 }],
] as const)('%s', (_, weights) => {
  describe.each(['uniform', 'dynamic'] as const)('%s', (weighting) => {
    test.each([
      ['one chunk', null, tokens, tokens],
      ['uneven chunks', null, 3, 3],
      ['uneven chunks, those of the teacher smaller', null, 5, 2],
      ['uneven chunks, capped logits', 2.5, 3, 3],
    ] as const)('%s', (_, softcap, chunk, teacherChunk) => {
      const options = { ...weights, weighting };
      const { losses, crossEntropies, gradients } = computed(
        [whole, short],
        true,
        options,
        softcap,
        chunk,
        teacherChunk,
      );
      for (const [i, problem] of [whole, short].entries()) {
        const plain = reference(problem, problem, { crossEntropy: 1, distillation: 0, weighting: 'uniform' }, softcap);
        expect(Math.abs(crossEntropies[i]! - plain)).toBeLessThan(2e-6 * plain);
        const loss = reference(problem, problem, options, softcap);
        expect(Math.abs(losses[i]! - loss)).toBeLessThan(2e-6 * loss);
        for (const [k, part] of (['state', 'head'] as const).entries()) {
          problem[part].forEach((value, at) => {
            const shifted = (by: number): number => {
              const moved = Float64Array.from(problem[part]);
              moved[at] = value + by;
              return reference({ ...problem, [part]: moved }, problem, options, softcap);
            };
            const difference = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
            expect(Math.abs(gradients[2 * i + k]![at]! - (i + 1) * difference)).toBeLessThan(2e-5);
          });
        }
      }
    });
  });
});

test('a frozen head has no gradient, and the state the same', () => {
  const options: ObjectiveOptions = { crossEntropy: 1, distillation: 0.5, weighting: 'dynamic' };
  const frozen = computed([whole, short], false, options, null, 3);
  const trained = computed([whole, short], true, options, null, 3);
  expect(frozen.losses).toEqual(trained.losses);
  expect(frozen.gradients).toEqual([trained.gradients[0], trained.gradients[2]]);
});

test('a large logit stays finite', () => {
  const loud: Problem = { ...whole, head: whole.head.map((x) => 100 * x) };
  const options: ObjectiveOptions = { crossEntropy: 1, distillation: 1, weighting: 'uniform' };
  const { losses, gradients } = computed([loud], true, options, null, 3);
  const loss = reference(loud, loud, options, null);
  if (Number.isFinite(loss)) expect(losses[0]!).toBeCloseTo(loss, 0);
  expect(Number.isFinite(losses[0]!)).toBe(true);
  expect(gradients.every((gradient) => gradient.every(Number.isFinite))).toBe(true);
});

test('leaves no tensors behind', () => {
  const before = tf.memory().numTensors;
  computed([whole, short], true, { crossEntropy: 1, distillation: 1, weighting: 'dynamic' }, null, 3);
  expect(tf.memory().numTensors).toBe(before);
});

test('a chunk holds at most 50 MB of logits, in tokens by 64', () => {
  expect(chunkTokens(49152)).toBe(256);
  expect(chunkTokens(4096)).toBe(3200);
  expect(chunkTokens(10_000_000)).toBe(64);
});

test('rows of targets count from 0 in each chunk', () => {
  expect([...targetPairs(Int32Array.of(5, 6, 7, 8, 9), 2)]).toEqual([0, 5, 1, 6, 0, 7, 1, 8, 0, 9]);
});
