/** Small steps for tests: exits of a tiny model on random features. */
import { initialiseExit } from '../../../backend/exits/initialise.ts';
import { exitCut } from '../../../backend/exits/architectures.ts';
import { exitId, type ExitSpec } from '../../../backend/exits/spec.ts';
import { openModel, type Model } from '../../../backend/model/open.ts';
import { cutName, cutWidth } from '../../../backend/model/spec.ts';
import { createCompiledStep, createEagerStep, type StepOptions } from '../../../backend/tuning/step/step.ts';
import type { StepBatch } from '../../../backend/features/features.ts';
import type {
  ObjectiveOptions,
  OptimiserOptions,
  StepSettings,
  TuningStep,
} from '../../../backend/tuning/step/types.ts';
import { join } from 'node:path';
import { fixtures } from '../../support/golden.ts';
import { plainTeach } from '../../support/teacher.ts';
import { numbers } from '../autodiff/numbers.ts';

export const tiny = (family: string): Model => openModel(join(fixtures, 'tiny', family));

export const crossEntropy: ObjectiveOptions = { crossEntropy: 1, distillation: 0, weighting: 'uniform' };
export const mixed: ObjectiveOptions = { crossEntropy: 0.6, distillation: 0.4, weighting: 'dynamic' };
export const optimiser: OptimiserOptions = {
  beta1: 0.9,
  beta2: 0.95,
  epsilon: 1e-5,
  weightDecay: 0.01,
  decay: 'matrices',
  gradientClip: 1,
  clip: 'each',
};

/** Every architecture, with heads of every kind. */
export const allExits: readonly ExitSpec[] = [
  { layer: 1, architecture: 'embedding', head: { kind: 'own' } },
  { layer: 1, architecture: 'norm', head: { kind: 'shared' } },
  { layer: 2, architecture: 'mlp', head: { kind: 'shortlist', tokens: [5, 3, 40, 7] } },
  { layer: 2, architecture: 'layer', head: { kind: 'own' } },
  { layer: 3, architecture: 'lens', head: { kind: 'shared' } },
  { layer: 3, architecture: 'layer', head: { kind: 'shortlist', tokens: [9, 2] } },
];

export function optionsOf(model: Model, exits: readonly ExitSpec[], objective: ObjectiveOptions): StepOptions {
  const { spec, parameters } = model;
  const initial = new Map(exits.flatMap((exit) => [...initialiseExit(spec, exit, parameters, { kind: 'copy' })]));
  return { spec, exits, initial, model: parameters, objective, optimiser, teach: plainTeach(model, exits) };
}

export const compiled = (options: StepOptions, batch: number, tokens: number): Promise<TuningStep> =>
  createCompiledStep({ ...options, batch, tokens, chunk: 8 });
export const eager = (options: StepOptions): Promise<TuningStep> =>
  createEagerStep({ ...options, backend: 'cpu', chunk: 7 });

export const settingsOf = (exits: readonly ExitSpec[]): StepSettings => ({
  learningRate: 1e-2,
  exitWeights: new Map(exits.map((exit, i) => [exitId(exit), 1 + i / 4])),
});

/** Random states at every exit's cut and at the end; a few positions have no target. */
export function randomBatch(
  { spec }: Model,
  exits: readonly ExitSpec[],
  batch: number,
  tokens: number,
  seed = 1,
): StepBatch {
  const states = (width: number, salt: number): Float32Array => numbers(batch * tokens * width, 10 * seed + salt);
  return {
    batch,
    tokens,
    features: new Map(exits.map((exit) => [cutName(exitCut(exit)), states(cutWidth(spec, exitCut(exit)), exit.layer)])),
    targets: Int32Array.from(numbers(batch * tokens, seed), (x, i) =>
      i % tokens === tokens - 1 || i % 7 === 3 ? -1 : Math.floor(((x + 1) / 2) * 64),
    ),
    final: states(spec.hidden, 9),
  };
}

/** Part of a batch: sequences `from` up to `to`. */
export function sequences(source: StepBatch, from: number, to: number): StepBatch {
  const cut = <T extends Float32Array | Int32Array>(values: T): T => {
    const each = values.length / source.batch;
    return values.slice(from * each, to * each) as T;
  };
  return {
    batch: to - from,
    tokens: source.tokens,
    features: new Map([...source.features].map(([name, values]) => [name, cut(values)])),
    targets: cut(source.targets),
    final: source.final && cut(source.final),
  };
}
