/**
 * What both steps are built from: the exits with their parameters, which exits share a pass, and the targets in the
 * form that the loss wants. Knows no backend.
 */
import {
  checkParameters,
  exitParameters,
  frozenParameters,
  parameterSize,
  type ExitParameter,
} from '../../exits/parameters.ts';
import { exitCut } from '../../exits/architectures.ts';
import { classCount, exitId, shortlistIndex, shortlistOf, shortlistsOf, type ExitSpec } from '../../exits/spec.ts';
import type { Parameters } from '../../model/parameters.ts';
import { cutName, type ModelSpec } from '../../model/spec.ts';
import type { StepBatch } from '../../features/features.ts';
import type { ObjectiveOptions, OptimiserOptions, Teach } from './types.ts';

export interface StepOptions {
  readonly spec: ModelSpec;
  readonly exits: readonly ExitSpec[];
  /** First values of every trained parameter (exits/initialise.ts, a fit, or a checkpoint); copied. */
  readonly initial: ReadonlyMap<string, Float32Array>;
  /** The backbone's parameters. Those that exits read, which are frozen, stay in memory. */
  readonly model: Pick<Parameters, 'has' | 'shape' | 'values'>;
  readonly objective: ObjectiveOptions;
  readonly optimiser: OptimiserOptions;
  /** What exits that distil are taught. */
  readonly teach: Teach;
}

export interface PlannedExit {
  readonly exit: ExitSpec;
  readonly id: string;
  readonly cut: string;
  readonly parameters: readonly ExitParameter[];
  readonly frozen: readonly string[];
  /** Class of each token id; null if classes are the token ids. */
  readonly classes: Int32Array | null;
  /** The class of tokens outside a shortlist, which is also how many tokens it lists; −1 without one. */
  readonly defer: number;
  /** Which of the plan's shortlists it has; null for none. */
  readonly list: number | null;
}

/** Names of an exit's trained parameters, in the order of its gradients. */
export const namesOf = ({ parameters }: PlannedExit): string[] => parameters.map(({ name }) => name);

export interface StepPlan {
  readonly exits: readonly PlannedExit[];
  /** Exits that go through one pass: each alone, or all that share a teacher and its logits. */
  readonly groups: readonly (readonly PlannedExit[])[];
  /** The different shortlists of the exits. */
  readonly lists: readonly (readonly number[])[];
  /** The widest set of classes of any exit's head: what bounds a chunk. */
  readonly widest: number;
  readonly distils: boolean;
}

/**
 * Largest gradients (bytes) of exits that share a pass. Beyond it the teacher is computed for each exit: a fifth more arithmetic for three
 * full heads of SmolLM2, and 0.7 GB less memory.
 */
const sharedPassBytes = 2 ** 28;

/**
 * Plans a step.
 * @throws UserError if `initial` is not exactly the exits' trained parameters.
 */
export function planStep({ spec, exits, initial, model, objective }: Omit<StepOptions, 'teach'>): StepPlan {
  const distils = objective.distillation > 0;
  const lists = shortlistsOf(exits);
  const planned = exits.map((exit): PlannedExit => ({
    exit,
    id: exitId(exit),
    cut: cutName(exitCut(exit)),
    parameters: exitParameters(spec, exit, model),
    frozen: frozenParameters(exit, model, distils),
    classes: shortlistClasses(exit, spec.vocabulary),
    defer: shortlistOf(exit)?.length ?? -1,
    list: shortlistIndex(exit, lists),
  }));
  checkParameters(
    planned.flatMap(({ parameters }) => parameters),
    initial,
    'The set of first values',
  );
  const bytes = 4 * planned.flatMap(({ parameters }) => parameters.map(parameterSize)).reduce((a, b) => a + b, 0);
  return {
    exits: planned,
    groups: distils && bytes <= sharedPassBytes ? [planned] : planned.map((exit) => [exit]),
    lists,
    widest: Math.max(...exits.map((exit) => classCount(spec, exit))),
    distils,
  };
}

/** Class of each token id under an exit's shortlist: its place in the list, or the last class, *defer*. Null for an exit without one. */
export function shortlistClasses(exit: ExitSpec, vocabulary: number): Int32Array | null {
  const list = shortlistOf(exit);
  if (!list) return null;
  const classes = new Int32Array(vocabulary).fill(list.length);
  list.forEach((token, place) => (classes[token] = place));
  return classes;
}

/** Class of each target of a batch; 0 if there is none. */
export const targetClasses = ({ targets }: StepBatch, { classes }: PlannedExit): Int32Array =>
  targets.map((token) => (token < 0 ? 0 : classes ? classes[token]! : token));

/** 1 for each token with a target, else 0. */
export const targetWeights = ({ targets }: StepBatch): Float32Array =>
  Float32Array.from(targets, (token) => (token < 0 ? 0 : 1));

/**
 * An exit's summed cross-entropy minus the final exit's, both over the vocabulary: the defer class's probability is shared evenly among the
 * tokens outside the list, as in held-out losses.
 */
export function gapOf(
  crossEntropy: number,
  final: number,
  { targets }: Pick<StepBatch, 'targets'>,
  { classes, defer }: Pick<PlannedExit, 'classes' | 'defer'>,
  vocabulary: number,
): number {
  if (classes === null) return crossEntropy - final;
  const outside = targets.reduce((count, token) => count + (token >= 0 && classes[token] === defer ? 1 : 0), 0);
  return crossEntropy + outside * Math.log(Math.max(1, vocabulary - defer)) - final;
}

export const targetCount = ({ targets }: StepBatch): number =>
  targets.reduce((count, token) => count + (token < 0 ? 0 : 1), 0);

/** Features of an exit in a batch. Throws if the trainer did not supply its cut. */
export function featuresOf({ features }: StepBatch, { cut }: PlannedExit): Float32Array {
  const found = features.get(cut);
  if (!found) throw new Error(`the batch has no features at ${cut}, only at ${[...features.keys()].join(', ')}`);
  return found;
}

/** The final state of a batch. Throws if distillation needs it and the trainer did not supply it. */
export function finalOf({ final }: StepBatch): Float32Array {
  if (!final) throw new Error('distillation needs the final state, which the batch does not carry');
  return final;
}

/** Values of a parameter in a state; throws if the state is of other exits. */
export function requireValues(source: ReadonlyMap<string, Float32Array>, name: string, length: number): Float32Array {
  const values = source.get(name);
  if (values?.length !== length) throw new Error(`the state has no ${length} numbers for "${name}"`);
  return values;
}

/** Pads a smaller batch with positions without targets, to the right, where a causal model never looks. */
export function padBatch(source: StepBatch, batch: number, tokens: number): StepBatch {
  if (source.batch === batch && source.tokens === tokens) return source;
  if (source.batch > batch || source.tokens > tokens) {
    throw new Error(`a batch of ${source.batch} × ${source.tokens} in a step compiled for ${batch} × ${tokens}`);
  }
  const pad = (values: Float32Array): Float32Array => {
    const width = values.length / (source.batch * source.tokens);
    const padded = new Float32Array(batch * tokens * width);
    for (let row = 0; row < source.batch; row++) {
      const length = source.tokens * width;
      padded.set(values.subarray(row * length, (row + 1) * length), row * tokens * width);
    }
    return padded;
  };
  const targets = new Int32Array(batch * tokens).fill(-1);
  for (let row = 0; row < source.batch; row++) {
    targets.set(source.targets.subarray(row * source.tokens, (row + 1) * source.tokens), row * tokens);
  }
  return {
    batch,
    tokens,
    ...(source.windows && { windows: source.windows }),
    features: new Map([...source.features].map(([cut, values]) => [cut, pad(values)])),
    targets,
    final: source.final && pad(source.final),
  };
}
