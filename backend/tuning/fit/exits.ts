/**
 * Fits exits in one pass over text: compiled sums window by window, then a solution in closed form (exits/fit.ts). Needs the final state in
 * every batch. Knows neither the source of batches nor how exits are tuned afterwards.
 */
import { add, matMul, reshape, slice, sub, type Tensor } from '@tensorflow/tfjs-core';
import { tensorOps } from '../../autodiff/ops.ts';
import { record, type InputSpec } from '../../autodiff/recorder.ts';
import {
  fittedParameters,
  headLogits,
  headLogSum,
  regressionTensors,
  type FitHead,
  type SplitSums,
} from '../../exits/fit.ts';
import { exitState } from '../../exits/forward.ts';
import { exitParameters, frozenParameters } from '../../exits/parameters.ts';
import { emptySums, type RegressionSums } from '../../exits/ridge.ts';
import type { FittedMemory } from '../../exits/memory.ts';
import { exitCut, isFitted } from '../../exits/architectures.ts';
import { exitPath, shortlistIndex, shortlistsOf, type ExitSpec } from '../../exits/spec.ts';
import type { Parameters } from '../../model/parameters.ts';
import { cutName, cutWidth, type Cut, type ModelSpec } from '../../model/spec.ts';
import { openSession, type Session, type SessionOptions, type Value } from '../../onnx/session.ts';
import { openMemoryFit } from './memories.ts';
import { openTrustFit } from './trust.ts';
import { chunkTokens } from '../objective.ts';
import { openProducts, secondsOfProduct, type Open } from './products.ts';
import { padBatch, targetCount, targetWeights } from '../step/plan.ts';
import type { Teach } from '../step/types.ts';
import type { StepBatch } from '../../features/features.ts';

export interface FitOptions {
  readonly spec: ModelSpec;
  readonly exits: readonly ExitSpec[];
  /** Copies of the backbone's parameters (`initialiseExit`, `copy`): what a fit starts from, and keeps to. */
  readonly initial: ReadonlyMap<string, Float32Array>;
  readonly model: Pick<Parameters, 'has' | 'shape' | 'values' | 'rows'>;
  /** Cuts whose memories and trust in the text are fitted, too; batches must then have keys and values of the layers behind them. */
  readonly memories?: readonly Cut[];
  /** Asked about exits with a shortlist, whose *defer* class is fitted, too. */
  readonly teach: Teach;
  /** Most positions of a window. */
  readonly tokens: number;
  readonly threads?: number;
}

export interface Fit {
  /** Takes in one batch; only positions with a target count. `ids`: its tokens, a list a row, without which it says nothing of trust. */
  add(batch: StepBatch, ids?: readonly (readonly number[])[]): Promise<void>;
  /** How long the three solutions take on this machine, about, for what was taken in so far. */
  readonly solveSeconds: number;
  /**
   * All exits' parameters with the results of the fit. An exit without a place for them (a shared head without a translator) keeps its
   * copy, and so do all before the first batch. `hurried`: the time is over, so the sums so far must suffice.
   */
  solve(hurried?: () => boolean): Promise<Map<string, Float32Array>>;
  /** The requested memories, by cut name; none before the first batch. */
  solveMemories(hurried?: () => boolean): Promise<ReadonlyMap<string, FittedMemory>>;
  /** Trust in the text at the cuts of the memories, by cut name; see exits/trust.ts. */
  solveTrust(hurried?: () => boolean): Promise<ReadonlyMap<string, Float32Array>>;
  dispose(): Promise<void>;
}

/** States of a window that are kept, for the regression of the defer class after the fit. */
interface KeptWindow {
  readonly x: Value;
  readonly weights: Value;
  readonly logOdds: Value;
  readonly isApart: boolean;
}

interface FittedExit {
  readonly exit: ExitSpec;
  readonly sums: SplitSums;
  readonly session: Session;
  /** Shapes by name of everything the graph is fed. */
  readonly inputs: Readonly<Record<string, InputSpec>>;
  readonly feeds: Readonly<Record<string, Value>>;
  readonly kept: KeptWindow[];
}

/** Number of positions for which a shortlisted exit's states are kept and the teacher is computed. */
const keptPositions = 4096;

/** Every fourth window is kept apart, beginning with the second. */
const isApart = (window: number): boolean => window % 4 === 1;

/** Products of one exit's sums that its solution costs, about: seven strengths, each with an inverse. */
const productsOfSolution = 40;
/** Time of a solution ÷ that of its products: matrices are copied between them. */
const besideProducts = 1.5;

/** Opens a fit of all exits at once. */
export async function openFit(options: FitOptions): Promise<Fit> {
  const { spec, exits, initial, model, tokens, memories: cuts = [] } = options;
  const { hidden } = spec;
  const sessionOptions: SessionOptions = options.threads === undefined ? {} : { threads: options.threads };
  const sessions: Session[] = [];
  const open: Open = async (graph) => {
    const session = await openSession(graph, sessionOptions);
    sessions.push(session);
    return session;
  };

  const fitted: FittedExit[] = [];
  for (const exit of exits.filter(isFitted)) {
    const read = [...exitParameters(spec, exit, model).map(({ name }) => name), ...frozenParameters(exit, model, false)]
      .filter((name) => !/head\.(weight|bias)$/.test(name))
      .map((name) => ({ name, data: initial.get(name) ?? model.values(name), shape: shapeOf(options, exit, name) }));
    const inputs: Record<string, InputSpec> = {
      features: { shape: [1, tokens, cutWidth(spec, exitCut(exit))] },
      final: { shape: [tokens, hidden] },
      weights: { shape: [tokens, 1] },
      ...Object.fromEntries(read.map(({ name, shape }) => [name, { shape }])),
    };
    const session = await open(
      record(inputs, ({ features, final, weights, ...table }) => {
        const state = exitState(tensorOps(new Map(Object.entries(table))), spec, exit, features!);
        const x = reshape(state, [-1, hidden]);
        return { x, ...regressionTensors(x, sub(final!, x), weights!) };
      }),
    );
    const feeds = Object.fromEntries(read.map(({ name, data, shape }) => [name, { data, shape }]));
    fitted.push({ exit, sums: emptySplit(hidden, hidden), session, inputs, feeds, kept: [] });
  }
  const lists = shortlistsOf(exits);
  const multiply = await openProducts(open);
  const memories = await openMemoryFit({ spec, model, cuts, tokens }, open, multiply);
  const trust = openTrustFit({ spec, model, cuts });
  const products = fitted.length * productsOfSolution + memories.products;
  const productSeconds = besideProducts * products * (await secondsOfProduct(multiply, hidden));
  let count = 0;
  let windows = 0;

  async function addWindow(source: StepBatch, ids: readonly number[] | undefined): Promise<void> {
    const window = padBatch(source, 1, tokens);
    const final: Value = { data: window.final!, shape: [tokens, hidden] };
    const weights: Value = { data: targetWeights(window), shape: [tokens, 1] };
    const apart = isApart(windows);
    const isKept = windows * tokens < keptPositions;
    const shares = isKept && lists.length > 0 ? (await options.teach(window)).shares : [];
    for (const { exit, sums, session, inputs, feeds, kept } of fitted) {
      const data = window.features.get(cutName(exitCut(exit)));
      if (!data) throw new Error(`the batch has no features at ${cutName(exitCut(exit))}`);
      const features: Value = { data, shape: inputs['features']!.shape as number[] };
      const own = shares[shortlistIndex(exit, lists) ?? -1];
      const results = await session.run({ ...feeds, features, final, weights }, ['xx', 'xr', ...(own ? ['x'] : [])]);
      addTo(apart ? sums.apart : sums.learned, results);
      if (own) kept.push({ x: results['x']!, weights, logOdds: oddsOf(own), isApart: apart });
    }
    await memories.add(window, apart);
    if (ids) trust.add(window, ids);
    windows++;
  }

  return {
    get solveSeconds() {
      return productSeconds + trust.solveSeconds;
    },
    async add(batch, ids) {
      if (!batch.final) throw new Error('a fit needs the final state, which the batch does not carry');
      for (let row = 0; row < batch.batch; row++) await addWindow(windowOf(batch, row), ids?.[row]);
      count += targetCount(batch);
    },
    async solve(hurried = () => false) {
      const all = new Map(initial);
      if (!count) return all;
      for (const { exit, sums, kept } of fitted) {
        const own = new Map([...initial].filter(([name]) => name.startsWith(`${exitPath(exit)}.`)));
        const parameters = await fittedParameters(exit, own, sums, {
          multiply,
          fold: (head, translator) => multiplied(head, translator, hidden, open),
          deferSums: (head, translator) => deferSums(options, head, translator, kept, open),
          hurried,
        });
        for (const [name, values] of parameters) all.set(name, values);
      }
      return all;
    },
    solveMemories: async (hurried) => (count ? memories.solve(hurried) : new Map()),
    solveTrust: (hurried) => trust.solve(hurried),
    async dispose() {
      for (const session of sessions.splice(0)) await session.dispose();
    },
  };
}

/** One window of a batch. */
function windowOf({ batch, tokens, windows, features, targets, final }: StepBatch, row: number): StepBatch {
  const part = (values: Float32Array): Float32Array => {
    const size = values.length / batch;
    return values.subarray(row * size, (row + 1) * size);
  };
  return {
    batch: 1,
    tokens,
    features: new Map([...features].map(([cut, values]) => [cut, part(values)])),
    ...(windows && { windows: [windows[row]!] }),
    targets: targets.subarray(row * tokens, (row + 1) * tokens),
    final: final && part(final),
  };
}

/** Log odds of *outside the list* against *listed*, from a teacher's shares. */
const oddsOf = (shares: Float32Array): Value => {
  const data = Float32Array.from({ length: shares.length / 2 }, (_, i) => shares[2 * i]! - shares[2 * i + 1]!);
  return { data, shape: [data.length, 1] };
};

/** Sums over the kept windows of the error of the defer class of `head`. */
async function deferSums(
  { spec, tokens }: FitOptions,
  head: FitHead<Float32Array>,
  translator: Float32Array | null,
  kept: readonly KeptWindow[],
  open: Open,
): Promise<SplitSums> {
  const { hidden, finalSoftcap } = spec;
  const listed = head.weight.length / hidden - 1;
  const feeds: Record<string, Value> = {
    ...headValues(head, hidden),
    ...(translator && { translator: { data: translator, shape: [hidden, hidden] } }),
  };
  const inputs: Record<string, InputSpec> = {
    x: { shape: [tokens, hidden] },
    weights: { shape: [tokens, 1] },
    logOdds: { shape: [tokens, 1] },
    ...shapesOf(feeds),
  };
  const session = await open(
    record(inputs, ({ x, weights, logOdds, weight, bias, translator }) => {
      const z = translator ? matMul(x!, translator, false, true) : x!;
      const rows = (first: number, count: number): FitHead<Tensor> => ({
        weight: slice(weight!, [first, 0], [count, hidden]),
        bias: bias ? slice(bias, [first], [count]) : null,
      });
      const others = headLogSum(z, rows(0, listed), finalSoftcap, chunkTokens(listed));
      const deferLogits = headLogits(z, rows(listed, 1), null);
      return regressionTensors(z, sub(add(others, logOdds!), deferLogits), weights!);
    }),
  );
  const sums = emptySplit(hidden, 1);
  for (const { x, weights, logOdds, isApart } of kept)
    addTo(isApart ? sums.apart : sums.learned, await session.run({ ...feeds, x, weights, logOdds }));
  return sums;
}

/** A head as a graph is fed with it. */
const headValues = ({ weight, bias }: FitHead<Float32Array>, hidden: number): Record<string, Value> => ({
  weight: { data: weight, shape: [weight.length / hidden, hidden] },
  ...(bias && { bias: { data: bias, shape: [bias.length] } }),
});

const shapesOf = (values: Record<string, Value>): Record<string, InputSpec> =>
  Object.fromEntries(Object.entries(values).map(([name, { shape }]) => [name, { shape }]));

const emptySplit = (size: number, columns: number): SplitSums => ({
  learned: emptySums(size, columns),
  apart: emptySums(size, columns),
});

function addTo(sums: RegressionSums, results: Record<string, Value>): void {
  for (const part of ['xx', 'xr'] as const) {
    const from = results[part]!.data as Float32Array;
    const into = sums[part];
    for (let i = 0; i < into.length; i++) into[i]! += from[i]!;
  }
}

/** head · translator: `[rows, size]`. */
async function multiplied(
  head: Float32Array,
  translator: Float32Array,
  size: number,
  open: Open,
): Promise<Float32Array> {
  const shape = [head.length / size, size];
  const session = await open(
    record({ head: { shape }, translator: { shape: [size, size] } }, (tensors) => ({
      product: matMul(tensors.head, tensors.translator),
    })),
  );
  const feeds = { head: { data: head, shape }, translator: { data: translator, shape: [size, size] } };
  return (await session.run(feeds))['product']!.data as Float32Array;
}

function shapeOf({ spec, model }: FitOptions, exit: ExitSpec, name: string): readonly number[] {
  return exitParameters(spec, exit, model).find((each) => each.name === name)?.shape ?? model.shape(name);
}
