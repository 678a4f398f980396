/**
 * The step that trains a whole model with its exits, compiled for ONNX Runtime. Values are kept in JavaScript under the names of the
 * model's own files, so that a shared tensor is trained once; the graph sees them as our parameters.
 */
import type { StepState } from '../../checkpoint/checkpoint.ts';
import { isOfExit } from '../../checkpoint/continued.ts';
import { shortlistOf } from '../../exits/spec.ts';
import type { ParameterPlace } from '../../model/sources.ts';
import type { ModelSpec } from '../../model/spec.ts';
import { giveParameter, takeParameter, type StoredValues } from '../../model/stored-values.ts';
import { openSession, type Session, type SessionOptions, type Value } from '../../onnx/session.ts';
import { clipCoefficient, decays, updateNumbers } from '../step/optimiser.ts';
import { gapOf, requireValues, shortlistClasses } from '../step/plan.ts';
import type { OptimiserOptions, StepResult, StepSettings, TuningStep } from '../step/types.ts';
import { compiledUpdate } from '../step/update.ts';
import { finalId, wholeGraph, type WholeGraphOptions } from './graph.ts';

/** Windows of tokens: `[batch, tokens]` each; a target is −1 if there is none. */
export interface WindowBatch {
  readonly batch: number;
  readonly tokens: number;
  readonly ids: Int32Array;
  readonly targets: Int32Array;
}

export interface WholeStepOptions extends Omit<WholeGraphOptions, 'names'> {
  readonly places: Places;
  /** Of every trained tensor by the name of the model's files, and of the exits' parameters. Taken over: the step changes its arrays. */
  readonly state: StepState;
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  readonly optimiser: OptimiserOptions;
  readonly threads?: number;
}

/** Places of the model's parameters in its files, under our names. */
type Places = Readonly<Record<string, ParameterPlace>>;

/** A loss or gradient that is no number. Parameters and moments are still those of the update before. */
export class Diverged extends Error {
  constructor(update: number) {
    super(`a loss or gradient of update ${update} is no number`);
  }
}

const [embedding, positions] = ['embed_tokens.weight', 'embed_positions.weight'];

/** A step for passes of one shape, compiled once; smaller ones are filled up. Its updates throw `Diverged`. */
export function createWholeStep(options: WholeStepOptions): TuningStep<WindowBatch> {
  const { spec, model, places, shapes, optimiser, batch, tokens } = options;
  const { parameters, firstMoments: first, secondMoments: second } = options.state;
  const sessionOptions: SessionOptions = options.threads ? { threads: options.threads } : {};
  const gradients = zerosLike(parameters);
  // What enters the first layer is looked up here, not in the graph.
  const names = Object.keys(places).filter((name) => name !== embedding && name !== positions);
  const graph = wholeGraph({ ...options, names });
  const classesOf = options.exits.map((exit) => ({
    classes: shortlistClasses(exit, spec.vocabulary),
    defer: shortlistOf(exit)?.length ?? -1,
  }));
  const distils = options.objective.distillation > 0;
  const updateGraph = compiledUpdate(optimiser, sessionOptions);
  let opened: Promise<Session> | null = null;
  let { updates } = options.state;
  let pending = emptySums(graph.ids.length);

  /** Adds the gradients and sums of a pass. */
  async function differentiate(given: WindowBatch, { exitWeights }: StepSettings): Promise<void> {
    const session = await (opened ??= openSession(graph.build(), sessionOptions));
    const { ids, targets } = padWindows(given, batch, tokens);
    const feeds: Record<string, Value> = graph.feeds(
      embed(spec, places, parameters, ids, tokens),
      targets,
      exitWeights,
    );
    for (const name of names)
      Object.assign(feeds, graph.feed(name, takeParameter(places[name]!, model.shape(name), parameters)));
    for (const { name } of graph.ofExits) Object.assign(feeds, graph.feed(name, parameters.get(name)!));
    const results = await session.run(feeds);
    const numbers = (name: string): Float32Array => results[name]!.data as Float32Array;
    for (const name of names)
      giveParameter(places[name]!, model.shape(name), numbers(`gradient of ${name}`), gradients);
    for (const { name } of graph.ofExits) add(gradients.get(name)!, numbers(`gradient of ${name}`));
    giveEmbedded(spec, places, gradients, ids, tokens, numbers('gradient of embedded'));
    const crossEntropies = numbers('crossEntropies');
    const final = crossEntropies.at(-1)!;
    const gaps = classesOf.map((classes, i) => gapOf(crossEntropies[i]!, final, given, classes, spec.vocabulary));
    pending = {
      count: pending.count + given.targets.reduce((sum, token) => sum + Number(token >= 0), 0),
      losses: plus(pending.losses, numbers('losses')),
      crossEntropies: plus(pending.crossEntropies, crossEntropies),
      gaps: plus(pending.gaps, gaps),
    };
  }

  /** Of the gradients so far, as means over their targets. */
  function gradientNorms(): Map<string, number> {
    const squares = new Map(graph.ids.map((id) => [id, 0]));
    for (const [name, gradient] of gradients)
      squares.set(ownerOf(name), squares.get(ownerOf(name))! + sumOfSquares(gradient));
    return new Map([...squares].map(([id, sum]) => [id, Math.sqrt(sum) / Math.max(1, pending.count)]));
  }

  function result(norms: ReadonlyMap<string, number>): StepResult {
    const means = (sums: readonly number[]): Map<string, number> =>
      new Map(sums.map((sum, i) => [graph.ids[i]!, sum / Math.max(1, pending.count)]));
    return {
      losses: means(pending.losses),
      crossEntropies: means(pending.crossEntropies),
      gaps: distils ? means(pending.gaps) : new Map(),
      gradientNorms: norms,
    };
  }

  function discard(): void {
    for (const gradient of gradients.values()) gradient.fill(0);
    pending = emptySums(graph.ids.length);
  }

  return {
    async accumulate(given, settings) {
      await differentiate(given, settings);
      return result(gradientNorms());
    },
    async update(given, settings) {
      await differentiate(given, settings);
      const norms = gradientNorms();
      const answer = result(norms);
      if (![...answer.losses.values(), ...norms.values()].every(Number.isFinite)) {
        discard();
        throw new Diverged(updates + 1);
      }
      // One norm, of everything: what is trained together is clipped together.
      const clip = clipCoefficient(Math.hypot(...norms.values()), optimiser.gradientClip);
      const scale = clip / Math.max(1, pending.count);
      updates++;
      for (const [name, gradient] of gradients) {
        const rate = isOfExit(name) ? settings.learningRate : settings.backboneLearningRate!;
        const numbers = updateNumbers(optimiser, updates, rate, scale, decays(optimiser, shapes.get(name)!));
        const state = { parameter: parameters.get(name)!, first: first.get(name)!, second: second.get(name)! };
        await updateGraph.apply(state, gradient, numbers);
      }
      discard();
      return answer;
    },
    async state() {
      return { updates, parameters, firstMoments: first, secondMoments: second };
    },
    async restore(state: StepState) {
      discard();
      for (const [target, source] of [
        [parameters, state.parameters],
        [first, state.firstMoments],
        [second, state.secondMoments],
      ] as const)
        for (const [name, values] of target) values.set(requireValues(source, name, values.length));
      updates = state.updates;
    },
    async dispose() {
      await (await opened)?.dispose();
      await updateGraph.dispose();
    },
  };
}

/** Ids `[batch, tokens]` → what enters the first layer, `[batch, tokens, hidden]`. */
function embed(spec: ModelSpec, places: Places, values: StoredValues, ids: Int32Array, tokens: number): Float32Array {
  const { hidden, embeddingScale } = spec;
  const take = (name: string): Float32Array | null => (places[name] ? values.get(places[name].tensors[0]!)! : null);
  const [table, learned] = [take(embedding)!, take(positions)];
  const embedded = new Float32Array(ids.length * hidden);
  for (let i = 0; i < ids.length; i++) {
    const [from, place] = [ids[i]! * hidden, (i % tokens) * hidden];
    for (let j = 0; j < hidden; j++)
      embedded[i * hidden + j] = table[from + j]! * embeddingScale + (learned ? learned[place + j]! : 0);
  }
  return embedded;
}

/** The way back of `embed`: adds to the gradients of what was looked up. */
function giveEmbedded(
  spec: ModelSpec,
  places: Places,
  gradients: StoredValues,
  ids: Int32Array,
  tokens: number,
  gradient: Float32Array,
): void {
  const { hidden, embeddingScale } = spec;
  const of = (name: string): Float32Array | null => (places[name] ? gradients.get(places[name].tensors[0]!)! : null);
  const [table, learned] = [of(embedding)!, of(positions)];
  for (let i = 0; i < ids.length; i++) {
    const [into, place] = [ids[i]! * hidden, (i % tokens) * hidden];
    for (let j = 0; j < hidden; j++) {
      table[into + j]! += embeddingScale * gradient[i * hidden + j]!;
      if (learned) learned[place + j]! += gradient[i * hidden + j]!;
    }
  }
}

/** Over the targets since the last update. */
interface Sums {
  readonly count: number;
  readonly losses: readonly number[];
  readonly crossEntropies: readonly number[];
  /** Of all exits but the final one. */
  readonly gaps: readonly number[];
}

const emptySums = (exits: number): Sums => {
  const zeros = Array.from({ length: exits }, () => 0);
  return { count: 0, losses: zeros, crossEntropies: zeros, gaps: zeros.slice(1) };
};

const plus = (sums: readonly number[], more: ArrayLike<number>): number[] => sums.map((sum, i) => sum + more[i]!);

function add(into: Float32Array, values: Float32Array): void {
  for (let i = 0; i < into.length; i++) into[i]! += values[i]!;
}

function sumOfSquares(values: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]! ** 2;
  return sum;
}

/** `exits.8.mlp.norm.weight` → `8:mlp`; what is the model's belongs to the final exit. */
const ownerOf = (name: string): string => (isOfExit(name) ? name.split('.').slice(1, 3).join(':') : finalId);

const zerosLike = (arrays: StoredValues): Map<string, Float32Array> =>
  new Map([...arrays].map(([name, values]) => [name, new Float32Array(values.length)]));

/** Fills up with windows that have no target. */
function padWindows(given: WindowBatch, batch: number, tokens: number): WindowBatch {
  if (given.batch === batch) return given;
  const ids = new Int32Array(batch * tokens);
  const targets = new Int32Array(batch * tokens).fill(-1);
  ids.set(given.ids);
  targets.set(given.targets);
  return { batch, tokens, ids, targets };
}
