/**
 * The loss of exits and its gradient at their heads, in chunks of tokens: of the logits over the vocabulary one chunk is
 * alive at a time, and no one-hot rows are ever made. It knows heads and distributions, not how a state came to be.
 *
 * With z the logits of a token, e = exp(z − max z) and S = Σe, the cross-entropy is log S − (z − max z)[target] and its
 * gradient (e − S·onehot) / S; so one exponential serves both, and 1/S joins the token's weight.
 */
import * as tf from '@tensorflow/tfjs-core';
import { after } from '../autodiff/recorder.ts';
import { headLogits } from '../exits/fit.ts';
import type { ObjectiveOptions } from './step/types.ts';

/** One exit's head, and its targets. */
export interface HeadTask {
  /** What the head reads: `[tokens, hidden]`. */
  readonly state: tf.Tensor;
  /** `[classes, hidden]`. */
  readonly head: tf.Tensor;
  /** `[classes]`, of a head that has one. */
  readonly bias: tf.Tensor | null;
  /** Whether the head and its bias want a gradient; those of a frozen model do not. */
  readonly trained: boolean;
  /** Pairs of row and class of each target, `[tokens, 2]` int32; rows count from 0 within each chunk. */
  readonly targets: tf.Tensor;
  /** Weight of each token, 0 if there is no target: `[tokens, 1]`. */
  readonly weights: tf.Tensor;
  /** Ids of the classes but the last, which is *defer*; null for a head over the whole vocabulary. */
  readonly shortlist: tf.Tensor | null;
}

/** The model's own last word, for distillation. */
export interface Teacher {
  /** The normed final state `[tokens, hidden]`. */
  readonly state: tf.Tensor;
  /** The model's frozen head `[vocabulary, hidden]`, and its bias `[vocabulary]` if it has one. */
  readonly head: tf.Tensor;
  readonly bias: tf.Tensor | null;
  /** By the tensor of a list, what is outside it and in it: see `listShares`. */
  readonly shares: ReadonlyMap<tf.Tensor, tf.Tensor>;
}

/** A distribution per token as exp(logit − max) and its sum. */
interface Distribution {
  /** logit − max: `[tokens, classes]`. */
  readonly shifted: tf.Tensor;
  readonly exponentials: tf.Tensor;
  /** `[tokens, 1]`. */
  readonly sum: tf.Tensor;
  readonly max: tf.Tensor;
}

/** The teacher's targets for heads with one list of classes: a distribution per token `[tokens, classes]`, and Σ p log p `[tokens, 1]`. */
interface Lesson {
  readonly probabilities: tf.Tensor;
  readonly negentropy: tf.Tensor;
}

/** Logits (elements) of one chunk by default: 50 MB. */
const chunkElements = 12.5 * 2 ** 20;

/** Tokens of a chunk for `classes` classes: a multiple of 64 below the limit on memory. */
export const chunkTokens = (classes: number): number => Math.max(64, Math.floor(chunkElements / classes / 64) * 64);

/** Pairs `[tokens, 2]` of row within the chunk and class. */
export function targetPairs(classes: Int32Array, chunk: number): Int32Array {
  return Int32Array.from({ length: 2 * classes.length }, (_, i) => (i % 2 ? classes[i >> 1]! : (i >> 1) % chunk));
}

/**
 * A head's log probabilities of the tokens outside a list and of those in it, `[tokens, 2]`, in chunks of tokens. `mask` `[vocabulary, 2]` is
 * `listMask`.
 */
export function listShares(
  state: tf.Tensor,
  head: Head,
  mask: tf.Tensor,
  softcap: number | null,
  chunk: number,
): tf.Tensor {
  const tokens = state.shape[0];
  const parts: tf.Tensor[] = [];
  for (let begin = 0; begin < tokens; begin += chunk) {
    const part = rows(after(state, parts.slice(-1)), begin, Math.min(chunk, tokens - begin));
    parts.push(
      tidied(() => {
        const { exponentials, sum } = distribution(part, head, softcap);
        return tf.log(tf.maximum(tf.div(tf.matMul(exponentials, mask), sum), smallest));
      }),
    );
  }
  const all = tf.concat(parts, 0);
  tf.dispose(parts);
  return all;
}

/** For every token of the vocabulary a pair: 1, 0 outside the list and 0, 1 in it. */
export function listMask(list: readonly number[], vocabulary: number): Float32Array {
  const mask = Float32Array.from({ length: 2 * vocabulary }, (_, i) => 1 - (i % 2));
  for (const token of list) mask.set([0, 1], 2 * token);
  return mask;
}

export interface HeadLosses {
  /** `[tasks]`, differentiable in the states and the trained heads. */
  readonly losses: tf.Tensor;
  /** What is comparable whatever is learned from: the plain cross-entropy with the targets, summed; `[tasks]`, not differentiable. */
  readonly crossEntropies: tf.Tensor;
}

/**
 * Each task's loss summed over its tokens: Σ weight · (crossEntropy · CE + distillation · KL(teacher ‖ exit)), times the
 * exit's own detached max probability if the weighting is `dynamic` (the defer class never counts as probability).
 * A mean is this divided by the sum of weights.
 * With a shortlist, what the teacher gives to tokens outside it is the target of the defer class, and only the listed rows of its head are
 * read; heads with the same shortlist tensor share its lessons.
 */
export function headLosses(
  tasks: readonly HeadTask[],
  teacher: Teacher | null,
  options: ObjectiveOptions,
  softcap: number | null,
  chunk: number,
): HeadLosses {
  const tokens = tasks[0]!.state.shape[0];
  const leaves = tasks.map(({ state, head, bias, trained }) => [
    state,
    ...(trained ? [head, ...(bias ? [bias] : [])] : []),
  ]);
  const both = tf.customGrad((...args) => {
    const save = args.at(-1) as tf.GradSaveFunc;
    const parts: ChunkResult[][] = tasks.map(() => []);
    const headGradients: (HeadGradient | null)[] = tasks.map(() => null);
    const lists = [...new Set(tasks.map(({ shortlist }) => shortlist))];
    const taught = teacher && new Map(lists.map((list) => [list, listedHead(teacher, list)]));
    let earlier: tf.Tensor[] = [];
    for (let begin = 0; begin < tokens; begin += chunk) {
      const size = Math.min(chunk, tokens - begin);
      const lessons = new Map<tf.Tensor | null, Lesson>();
      for (const [list, head] of taught ?? []) {
        const lesson = tidied(() => lessonOf({ ...teacher!, ...head }, list, begin, size, softcap, earlier));
        lessons.set(list, lesson);
        earlier = Object.values(lesson) as tf.Tensor[];
      }
      for (const [i, task] of tasks.entries()) {
        const state = rows(after(task.state, earlier), begin, size);
        const part = tidied(() =>
          headChunk(task, state, begin, lessons.get(task.shortlist) ?? null, options, softcap, headGradients[i]!),
        );
        tf.dispose(tensorsOf(headGradients[i]!));
        headGradients[i] = part.headGradient;
        parts[i]!.push(part);
        state.dispose();
        earlier = [part.loss, part.crossEntropy, part.stateGradient, ...tensorsOf(part.headGradient)];
      }
      for (const lesson of lessons.values()) tf.dispose(Object.values(lesson));
    }
    for (const [list, { head, bias }] of taught ?? []) if (list !== null) tf.dispose(bias ? [head, bias] : head);
    const gradients = tasks.flatMap(({ trained }, i) => [
      tf.concat(
        parts[i]!.map(({ stateGradient }) => stateGradient),
        0,
      ),
      ...(trained ? headLeaves(headGradients[i]!) : []),
    ]);
    save(gradients);
    return {
      value: tf.concat(
        (['loss', 'crossEntropy'] as const).flatMap((kind) =>
          parts.map((each) => tf.reshape(sumOf(each.map((part) => part[kind])), [1])),
        ),
      ),
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => {
        const owners = leaves.flatMap((own, i) => own.map(() => i));
        return saved.map((gradient, k) => tf.mul(gradient, tf.slice(dy, [owners[k]!], [1])));
      },
    };
  });
  const values = both(...leaves.flat());
  const count = tasks.length;
  return {
    losses: tf.slice(values, [0], [count]),
    crossEntropies: tf.slice(values, [count], [count]),
  };
}

/** Of a chunk of tokens and all before it. */
interface HeadGradient {
  /** `[hidden, classes]`. */
  readonly weight: tf.Tensor;
  /** `[classes]`. */
  readonly bias: tf.Tensor | null;
}

const tensorsOf = (gradient: HeadGradient | null): tf.Tensor[] =>
  gradient === null ? [] : [gradient.weight, ...(gradient.bias ? [gradient.bias] : [])];

/** As the head has them: accumulated as [hidden, classes], the faster shape for a product with many classes. */
const headLeaves = ({ weight, bias }: HeadGradient): tf.Tensor[] => [tf.transpose(weight), ...(bias ? [bias] : [])];

interface ChunkResult {
  readonly loss: tf.Tensor;
  readonly crossEntropy: tf.Tensor;
  /** `[tokens of the chunk, hidden]`. */
  readonly stateGradient: tf.Tensor;
  readonly headGradient: HeadGradient | null;
}

function headChunk(
  task: HeadTask,
  state: tf.Tensor,
  begin: number,
  lesson: Lesson | null,
  options: ObjectiveOptions,
  softcap: number | null,
  before: HeadGradient | null,
): ChunkResult {
  const { crossEntropy, distillation } = options;
  const size = state.shape[0];
  const targets = rows(task.targets, begin, size);
  const own = distribution(state, task, softcap);
  const logSum = tf.log(own.sum);
  const counted = rows(task.weights, begin, size);
  const weights = tokenWeights(counted, own, task.shortlist !== null, options);
  const surprise = tf.sub(logSum, tf.reshape(tf.gatherND(own.shifted, targets), [size, 1]));

  const tokenLosses: tf.Tensor[] = [];
  // S times the gradient of the token's loss with respect to its logits.
  const factor = crossEntropy + distillation;
  let gradient = factor === 1 ? own.exponentials : tf.mul(own.exponentials, factor);
  if (distillation > 0) {
    if (!lesson) throw new Error('distillation needs a teacher');
    const { probabilities, negentropy } = lesson;
    const expected = tf.sum(tf.mul(probabilities, own.shifted), -1, true);
    tokenLosses.push(tf.mul(tf.add(tf.sub(negentropy, expected), logSum), distillation));
    gradient = tf.sub(gradient, tf.mul(probabilities, tf.mul(own.sum, distillation)));
  }
  if (crossEntropy > 0) {
    tokenLosses.push(tf.mul(surprise, crossEntropy));
    const corrected = tf.sub(tf.gatherND(gradient, targets), tf.mul(tf.reshape(own.sum, [size]), crossEntropy));
    gradient = tf.tensorScatterUpdate(gradient, targets, corrected);
  }
  if (softcap !== null) {
    // d(cap·tanh(x/cap))/dx = 1 − (z/cap)², with z the capped logits.
    const capped = tf.mul(tf.add(own.shifted, own.max), 1 / softcap);
    gradient = tf.mul(gradient, tf.sub(1, tf.square(capped)));
  }
  const scale = tf.div(weights, own.sum);
  const sumWith = (earlier: tf.Tensor | null | undefined, part: tf.Tensor): tf.Tensor =>
    earlier ? tf.add(earlier, part) : part;
  const headGradient = task.trained && {
    weight: sumWith(before?.weight, tf.matMul(tf.mul(state, scale), gradient, true, false)),
    bias: task.bias && sumWith(before?.bias, tf.sum(tf.mul(gradient, scale), 0)),
  };
  return {
    loss: tf.sum(tf.mul(weights, sumOf(tokenLosses))),
    crossEntropy: tf.sum(tf.mul(counted, surprise)),
    stateGradient: tf.mul(tf.matMul(gradient, task.head), scale),
    headGradient: headGradient || null,
  };
}

/** The weight of each token, times the largest probability among real tokens if requested. */
function tokenWeights(
  weights: tf.Tensor,
  own: Distribution,
  hasDefer: boolean,
  { weighting }: ObjectiveOptions,
): tf.Tensor {
  if (weighting === 'uniform') return weights;
  const [size, classes] = own.exponentials.shape as [number, number];
  const largest = hasDefer
    ? tf.max(tf.slice(own.exponentials, [0, 0], [size, classes - 1]), -1, true)
    : tf.max(own.exponentials, -1, true);
  return tf.mul(weights, tf.div(largest, own.sum));
}

function distribution(state: tf.Tensor, head: Head, softcap: number | null): Distribution {
  return tidied(() => {
    const logits = headLogits(state, { weight: head.head, bias: head.bias }, softcap);
    const max = tf.max(logits, -1, true);
    const shifted = tf.sub(logits, max);
    const exponentials = tf.exp(shifted);
    return { shifted, exponentials, sum: tf.sum(exponentials, -1, true), max };
  });
}

/** The rows of a teacher's head for the classes of a list; all of them without one. */
function listedHead({ head, bias }: Teacher, list: tf.Tensor | null): Head {
  return list === null ? { head, bias } : { head: tf.gather(head, list), bias: bias && tf.gather(bias, list) };
}

/**
 * The lesson of some tokens for the classes of `head`, and *defer* if they are those of a list: what the teacher gives to the list is divided
 * among its tokens here, so that both may be computed in different arithmetic.
 */
function lessonOf(
  { state, shares, ...head }: Teacher,
  list: tf.Tensor | null,
  begin: number,
  size: number,
  softcap: number | null,
  earlier: readonly tf.Tensor[],
): Lesson {
  const { shifted, sum } = distribution(rows(after(state, earlier), begin, size), head, softcap);
  const within = tf.sub(shifted, tf.log(sum));
  const logs = list === null ? within : withDefer(within, rows(shares.get(list)!, begin, size));
  const probabilities = tf.exp(logs);
  return { probabilities, negentropy: tf.sum(tf.mul(probabilities, logs), -1, true) };
}

/** Log probabilities of listed tokens and of all others: from those within the list `[tokens, classes]`, and `listShares`. */
function withDefer(within: tf.Tensor, shares: tf.Tensor): tf.Tensor {
  const column = (at: number): tf.Tensor => tf.slice(shares, [0, at], [within.shape[0], 1]);
  return tf.concat([tf.add(within, column(1)), column(0)], -1);
}

type Head = Pick<HeadTask, 'head' | 'bias'>;

/** Keeps a logarithm finite; far below what float32 can tell from 0 beside 1. */
const smallest = 1e-30;

/** `tf.tidy` for results that its type does not allow for: records with null in them. */
const tidied = <T>(compute: () => T): T => tf.tidy(compute as () => tf.TensorContainer) as T;

const rows = (x: tf.Tensor, begin: number, size: number): tf.Tensor =>
  tf.slice(x, [begin, ...x.shape.slice(1).map(() => 0)], [size, ...x.shape.slice(1)]);

const sumOf = (tensors: readonly tf.Tensor[]): tf.Tensor => tensors.reduce((sum, each) => tf.add(sum, each));
