/**
 * The step's engine on ONNX Runtime: the tfjs functions, recorded once as graphs. Parameters, moments and features live
 * in JavaScript and are fed without copies; of each pass only the gradients are copied out. Exits of the same kind share one
 * graph, and the update is one small graph run over pieces that fit the processor's cache.
 */
import * as tf from '@tensorflow/tfjs-core';
import { record } from '../../autodiff/recorder.ts';
import { openSession, type Session, type SessionOptions, type Value } from '../../onnx/session.ts';
import { chunkTokens } from '../objective.ts';
import { decays, updateNumbers } from './optimiser.ts';
import type { StepEngine } from './engine.ts';
import { sumOfSquares } from './gradients.ts';
import { describePass, gradientName, passFeeds, recordPass, type RecordedGraph } from './graphs.ts';
import { gapOf, namesOf, padBatch, requireValues, type StepOptions, type StepPlan } from './plan.ts';
import { surpriseAt } from './teacher.ts';
import { compiledUpdate, flat, number, pieces, scalar, vector } from './update.ts';
import type { StepState } from '../../checkpoint/checkpoint.ts';

export interface CompiledOptions {
  /** Largest number of sequences in a batch. */
  readonly batch: number;
  /** Largest number of positions in a sequence. */
  readonly tokens: number;
  /** Threads of one operator; default: all cores. */
  readonly threads?: number;
  /** Tokens whose logits are in memory at a time; by default as many as fit. */
  readonly chunk?: number;
}

type Arrays = Map<string, Float32Array>;

export function compiledEngine(plan: StepPlan, options: StepOptions & CompiledOptions): StepEngine<Arrays> {
  const { spec, initial, model, optimiser, batch, tokens, threads } = options;
  const chunk = options.chunk ?? chunkTokens(plan.widest);
  const sessionOptions: SessionOptions = threads === undefined ? {} : { threads };
  const frozen: Arrays = new Map(
    [...new Set(plan.exits.flatMap((planned) => planned.frozen))].map((name) => [name, model.values(name)]),
  );
  const parameters: Arrays = new Map([...initial].map(([name, values]) => [name, Float32Array.from(values)]));
  const first = zerosLike(parameters);
  const second = zerosLike(parameters);

  const sessions = new Map<string, Promise<Session>>();
  const sessionOf = (key: string, build: () => RecordedGraph): Promise<Session> => {
    const known = sessions.get(key);
    if (known) return known;
    const opened = openSession(build(), sessionOptions);
    sessions.set(key, opened);
    return opened;
  };

  const passOptions = { ...options, plan, chunk };
  const passes = new Map(plan.groups.map((group) => [group, describePass(passOptions, group)]));
  const updates = compiledUpdate(optimiser, sessionOptions);

  const sumSession = (): Promise<Session> =>
    sessionOf('sum', () =>
      record({ total: flat, gradient: flat, factor: scalar }, ({ total, gradient, factor }) => {
        const sum = tf.add(total, tf.mul(gradient, factor));
        return { sum, squares: sumOfSquares(sum) };
      }),
    );

  return {
    async differentiate(group, stepBatch) {
      const { key, inputs } = passes.get(group)!;
      const session = await sessionOf(key, () => recordPass(passOptions, group, inputs));
      const padded = padBatch(stepBatch, batch, tokens);
      const values = (name: string): Float32Array => (parameters.get(name) ?? frozen.get(name))!;
      const taught = plan.distils ? await options.teach(padded) : null;
      const results = await session.run(passFeeds(passOptions, group, inputs, padded, taught, values));
      const final = taught && surpriseAt(taught, padded.targets);
      return group.map((planned, i) => ({
        loss: numbersOf(results, 'losses')[i]!,
        crossEntropy: numbersOf(results, 'crossEntropies')[i]!,
        gap: final && gapOf(numbersOf(results, 'crossEntropies')[i]!, final, stepBatch, planned, spec.vocabulary),
        squares: numbersOf(results, 'squares')[i]!,
        gradient: new Map(namesOf(planned).map((name) => [name, numbersOf(results, gradientName(planned, i, name))])),
      }));
    },

    async accumulate(total, gradient, factor) {
      const session = await sumSession();
      const sums = total ?? gradient;
      let squares = 0;
      for (const [name, values] of gradient) {
        const target = sums.get(name)!;
        for (const [begin, end] of pieces(values.length)) {
          const before = total ? target.subarray(begin, end) : new Float32Array(end - begin);
          const results = await session.run({
            total: vector(before),
            gradient: vector(values.subarray(begin, end)),
            factor: number(factor),
          });
          target.set(numbersOf(results, 'sum'), begin);
          squares += numbersOf(results, 'squares')[0]!;
        }
      }
      return { squares, gradient: sums };
    },

    async apply(planned, gradient, scale, learningRate, update) {
      for (const { name, shape } of planned.parameters) {
        const numbers = updateNumbers(optimiser, update, learningRate, scale, decays(optimiser, shape));
        const state = { parameter: parameters.get(name)!, first: first.get(name)!, second: second.get(name)! };
        await updates.apply(state, gradient.get(name)!, numbers);
      }
    },

    discard() {},

    async state() {
      return { parameters, firstMoments: first, secondMoments: second };
    },

    async restore(state: StepState) {
      for (const [target, source] of [
        [parameters, state.parameters],
        [first, state.firstMoments],
        [second, state.secondMoments],
      ] as const) {
        for (const [name, values] of target) values.set(requireValues(source, name, values.length));
      }
    },

    async dispose() {
      for (const opened of sessions.values()) await (await opened).dispose();
      sessions.clear();
      await updates.dispose();
    },
  };
}

const numbersOf = (results: Record<string, Value>, name: string): Float32Array => results[name]!.data as Float32Array;
const zerosLike = (arrays: Arrays): Arrays =>
  new Map([...arrays].map(([name, values]) => [name, new Float32Array(values.length)]));
