/**
 * Fits exits in one pass over text: compiled sums batch by batch, then a solution in closed form (exits/fit.ts). Needs the
 * final state in every batch. Knows neither where batches come from nor how exits are tuned afterwards.
 */
import { matMul, reshape } from '@tensorflow/tfjs-core';
import { tensorOps } from '../autodiff/ops.ts';
import { record, type InputSpec } from '../autodiff/recorder.ts';
import {
  defaultRidge,
  deferLogOdds,
  emptySums,
  fittedParameters,
  headLogSum,
  isFitted,
  regressionTensors,
  shortlistMask,
  type RegressionSums,
} from '../exits/fit.ts';
import { exitState } from '../exits/forward.ts';
import { exitParameters, frozenParameters } from '../exits/parameters.ts';
import { exitCut, exitPath, type ExitSpec } from '../exits/spec.ts';
import type { Parameters } from '../model/parameters.ts';
import { cutName, cutWidth, type ModelSpec } from '../model/spec.ts';
import { openSession, type Session, type SessionOptions, type Value } from '../onnx/session.ts';
import { chunkTokens } from './objective.ts';
import { padBatch, targetCount, targetWeights } from './step-plan.ts';
import type { StepBatch } from '../features/features.ts';

export interface FitOptions {
  readonly spec: ModelSpec;
  readonly exits: readonly ExitSpec[];
  /** Copies of the backbone's parameters (`initialiseExit`, `copy`): what a fit starts from. */
  readonly initial: ReadonlyMap<string, Float32Array>;
  readonly model: Pick<Parameters, 'has' | 'shape' | 'values'>;
  /** Largest batch, in sequences and positions. */
  readonly batch: number;
  readonly tokens: number;
  readonly threads?: number;
  /** λ as a share of the mean diagonal; default 10⁻³. */
  readonly ridge?: number;
}

export interface Fit {
  /** Takes in one batch; only positions with a target count. */
  add(batch: StepBatch): Promise<void>;
  /** Positions taken in so far. */
  readonly tokens: number;
  /**
   * All exits' parameters with what the fit found. An exit with nowhere to put it (a shared head without a translator)
   * keeps its copy. Throws before the first batch.
   */
  solve(): Promise<Map<string, Float32Array>>;
  dispose(): Promise<void>;
}

interface FittedExit {
  readonly exit: ExitSpec;
  readonly sums: RegressionSums;
  readonly session: Session;
  /** Shapes by name of everything the graph is fed. */
  readonly inputs: Readonly<Record<string, InputSpec>>;
  readonly feeds: Readonly<Record<string, Value>>;
  /** States of the first batches and the weights of their tokens, for what is regressed after the fit. */
  readonly kept: { readonly x: Value; readonly weights: Value }[];
}

/** Batches of which a shortlisted exit's states are kept. */
const keptBatches = 4;

/** Opens a fit of all exits at once. */
export async function openFit(options: FitOptions): Promise<Fit> {
  const { spec, exits, initial, model, batch, tokens } = options;
  const sessionOptions: SessionOptions = {
    memory: 'pieces',
    ...(options.threads === undefined ? {} : { threads: options.threads }),
  };
  const positions = batch * tokens;
  const sessions: Session[] = [];
  const open: Open = async (graph) => {
    const session = await openSession(graph, sessionOptions);
    sessions.push(session);
    return session;
  };

  const fitted: FittedExit[] = [];
  for (const exit of exits.filter(isFitted)) {
    const read = [...exitParameters(spec, exit, model).map(({ name }) => name), ...frozenParameters(exit, model, false)]
      .filter((name) => !/head\.weight$/.test(name))
      .map((name) => ({ name, data: initial.get(name) ?? model.values(name), shape: shapeOf(options, exit, name) }));
    const inputs: Record<string, InputSpec> = {
      features: { shape: [batch, tokens, cutWidth(spec, exitCut(exit))] },
      final: { shape: [positions, spec.hidden] },
      weights: { shape: [positions, 1] },
      ...(exit.head.kind === 'shortlist' && { logOdds: { shape: [positions, 1] } }),
      ...Object.fromEntries(read.map(({ name, shape }) => [name, { shape }])),
    };
    const session = await open(
      record(inputs, ({ features, final, weights, logOdds, ...table }) => {
        const state = exitState(tensorOps(new Map(Object.entries(table))), spec, exit, features!);
        const x = reshape(state, [-1, spec.hidden]);
        return { x, ...regressionTensors(x, final!, logOdds ?? null, weights!) };
      }),
    );
    const feeds = Object.fromEntries(read.map(({ name, data, shape }) => [name, { data, shape }]));
    fitted.push({ exit, sums: emptySums(spec.hidden), session, inputs, feeds, kept: [] });
  }
  const logOdds = await openLogOdds(options, open);
  let count = 0;

  return {
    get tokens() {
      return count;
    },
    async add(source) {
      if (!source.final) throw new Error('a fit needs the final state, which the batch does not carry');
      count += targetCount(source);
      const padded = padBatch(source, batch, tokens);
      const final: Value = { data: padded.final!, shape: [positions, spec.hidden] };
      const weights: Value = { data: targetWeights(padded), shape: [positions, 1] };
      const odds = await logOdds(final);
      for (const { exit, sums, session, inputs, feeds, kept } of fitted) {
        const data = padded.features.get(cutName(exitCut(exit)));
        if (!data) throw new Error(`the batch has no features at ${cutName(exitCut(exit))}`);
        const features: Value = { data, shape: inputs['features']!.shape as number[] };
        const isListed = exit.head.kind === 'shortlist';
        const isKept = isListed && kept.length < keptBatches;
        const results = await session.run(
          { ...feeds, features, final, weights, ...(isListed && { logOdds: odds.get(keyOf(exit))! }) },
          ['xx', 'xy', ...(isListed ? ['xt'] : []), ...(isKept ? ['x'] : [])],
        );
        addTo(sums, results);
        if (isKept) kept.push({ x: results['x']!, weights });
      }
    },
    async solve() {
      if (!count) throw new Error('a fit has seen no tokens');
      const all = new Map(initial);
      for (const { exit, sums, kept } of fitted) {
        const own = new Map([...initial].filter(([name]) => name.startsWith(`${exitPath(exit)}.`)));
        const parameters = await fittedParameters(exit, own, sums, options.ridge ?? defaultRidge, {
          fold: (head, translator) => multiplied(head, translator, spec.hidden, open),
          logSums: (rows) => logSums(options, rows, kept, open),
        });
        for (const [name, values] of parameters) all.set(name, values);
      }
      return all;
    },
    async dispose() {
      for (const session of sessions.splice(0)) await session.dispose();
    },
  };
}

type Open = (graph: ReturnType<typeof record>) => Promise<Session>;

/** A function from the final states of a batch to the log odds of the defer class, for each distinct shortlist. */
async function openLogOdds(
  { spec, exits, model, batch, tokens }: FitOptions,
  open: Open,
): Promise<(final: Value) => Promise<Map<string, Value>>> {
  const lists = new Map<string, Value>();
  for (const exit of exits) {
    if (exit.head.kind !== 'shortlist' || lists.has(keyOf(exit))) continue;
    lists.set(keyOf(exit), { data: shortlistMask(exit.head.tokens, spec.vocabulary), shape: [1, spec.vocabulary] });
  }
  if (!lists.size) return async () => new Map();
  const shape = [spec.vocabulary, spec.hidden];
  const head: Value = { data: model.values('lm_head.weight'), shape };
  const chunk = chunkTokens(spec.vocabulary);
  const session = await open(
    record(
      { final: { shape: [batch * tokens, spec.hidden] }, head: { shape }, listed: { shape: [1, spec.vocabulary] } },
      ({ final, head, listed }) => ({ logOdds: deferLogOdds(final, head, listed, spec.finalSoftcap, chunk) }),
    ),
  );
  return async (final) => {
    const odds = new Map<string, Value>();
    for (const [key, listed] of lists) odds.set(key, (await session.run({ final, head, listed }))['logOdds']!);
    return odds;
  };
}

/** Sums over the kept states for the log-sum-exp of an exit's own fitted rows. */
async function logSums(
  { spec, batch, tokens }: FitOptions,
  rows: Float32Array,
  kept: FittedExit['kept'],
  open: Open,
): Promise<RegressionSums> {
  const shape = [rows.length / spec.hidden, spec.hidden];
  const positions = batch * tokens;
  const session = await open(
    record(
      { x: { shape: [positions, spec.hidden] }, weights: { shape: [positions, 1] }, rows: { shape } },
      ({ x, weights, rows }) =>
        regressionTensors(x, null, headLogSum(x, rows, spec.finalSoftcap, chunkTokens(shape[0]!)), weights),
    ),
  );
  const sums = emptySums(spec.hidden);
  for (const each of kept) addTo(sums, await session.run({ ...each, rows: { data: rows, shape } }));
  return sums;
}

function addTo(sums: RegressionSums, results: Record<string, Value>): void {
  for (const part of ['xx', 'xy', 'xt'] as const) {
    (results[part]?.data as Float32Array | undefined)?.forEach((value, i) => (sums[part][i]! += value));
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

const keyOf = ({ head }: ExitSpec): string => (head.kind === 'shortlist' ? head.tokens.join() : '');
