/** A tuning step of this project: the backbone to the deepest exit, then loss, gradient and update of all exits. */
import { initialiseExit } from '../../../backend/exits/initialise.ts';
import { exitCut } from '../../../backend/exits/architectures.ts';
import {
  exitId,
  shortlistsOf,
  type ExitArchitecture,
  type ExitSpec,
  type HeadSpec,
} from '../../../backend/exits/spec.ts';
import type { Model } from '../../../backend/model/open.ts';
import { compareCuts, cutName, finalCut, type Cut } from '../../../backend/model/spec.ts';
import { windowOptions } from '../../../backend/recipes/opening/backbone.ts';
import { openFeatureModel, openTeacher } from '../../../backend/runtime/open.ts';
import type { FeatureModel } from '../../../backend/runtime/staged-model.ts';
import { normState } from '../../../backend/features/features.ts';
import { createCompiledStep } from '../../../backend/tuning/step/step.ts';
import { rememberedTeaching } from '../../../backend/tuning/step/teacher.ts';
import type { ObjectiveOptions, StepSettings, TuningStep } from '../../../backend/tuning/step/types.ts';
import { placeExits } from '../../../protocol/options/notations.ts';
import { parseOptions, type TuneOptions } from '../../../protocol/options/options.ts';
import type { Contestant } from '../measure.ts';

export const exitsAt = (layers: readonly number[], architecture: ExitArchitecture, head: HeadSpec): ExitSpec[] =>
  layers.map((layer) => ({ layer, architecture, head }));

/** The exits of `tune` with its defaults; which tokens a shortlist holds makes no difference to the clock, so it has the first. */
export function defaultExits({ spec }: Model): ExitSpec[] {
  const { exits, head, shortlist } = parseOptions('tune', {});
  const tokens = Array.from({ length: Math.min(shortlist, spec.vocabulary - 1) }, (_, id) => id);
  const spelled: HeadSpec = head === 'shortlist' ? { kind: head, tokens } : { kind: head };
  return placeExits(exits, spec.layers.length).map((place) => ({ ...place, head: spelled }));
}

/** Their one-line description, for the notes under a table. */
export const sayExits = (exits: readonly ExitSpec[]): string =>
  exits.map(({ layer, architecture }) => `${layer}:${architecture}`).join(', ') + ` with ${sayHead(exits[0]!.head)}`;

const sayHead = (head: HeadSpec): string =>
  head.kind === 'shortlist' ? `a shortlist of ${head.tokens.length} tokens and *defer*` : `${head.kind} heads`;

export interface StepShape {
  readonly batch: number;
  readonly tokens: number;
  readonly threads: number;
}

export interface OpenedStep {
  readonly model: Model;
  /** Of the exits; where they distil, the final one, too. */
  readonly cuts: readonly Cut[];
  readonly features: FeatureModel;
  readonly step: TuningStep;
  readonly settings: StepSettings;
  dispose(): Promise<void>;
}

/** What exits learn from: what PyTorch beside them does, and what `tune` does by default. */
export const objectives = {
  'cross-entropy': { crossEntropy: 1, distillation: 0, weighting: 'uniform' },
  distilling: parseOptions('tune', {}),
} as const satisfies Record<string, ObjectiveOptions>;

/** The defaults of `tune` in everything but where exits hang, what they are and what they learn from. */
export async function openStep(
  model: Model,
  exits: readonly ExitSpec[],
  { batch, tokens, threads }: StepShape,
  objective: keyof typeof objectives,
  backbonePrecision: TuneOptions['backbonePrecision'] = parseOptions('tune', {}).backbonePrecision,
): Promise<OpenedStep> {
  const { spec, parameters } = model;
  const distils = objectives[objective].distillation > 0;
  const cuts = [...exits.map(exitCut), ...(distils ? [finalCut(spec)] : [])].sort(compareCuts);
  const running = windowOptions({ precision: backbonePrecision, threads });
  const features = await openFeatureModel(model, cuts, running);
  const lists = shortlistsOf(exits);
  const teacher = await openTeacher(model, lists, running);
  const step = await createCompiledStep({
    spec,
    exits,
    initial: new Map(exits.flatMap((exit) => [...initialiseExit(spec, exit, parameters, { kind: 'copy' })])),
    model: parameters,
    objective: objectives[objective],
    optimiser: {
      beta1: 0.9,
      beta2: 0.95,
      epsilon: 1e-5,
      weightDecay: 0.01,
      decay: 'matrices',
      gradientClip: 1,
      clip: 'each',
    },
    teach: rememberedTeaching(teacher, lists.length),
    batch,
    tokens,
    threads,
  });
  return {
    model,
    cuts: features.cuts,
    features,
    step,
    settings: { learningRate: 1e-4, exitWeights: new Map(exits.map((exit) => [exitId(exit), 1])) },
    async dispose() {
      await step.dispose();
      await teacher.dispose();
      await features.dispose();
    },
  };
}

/** Times `NAME backbone`, `NAME update` and `NAME`, both together, on the same ids in every turn. */
export function stepContestant(name: string, opened: OpenedStep, ids: Int32Array, shape: StepShape): Contestant {
  const { model, features, step, cuts, settings } = opened;
  const lastNorm = { weight: model.parameters.values('norm.weight'), bias: null };
  const { batch, tokens } = shape;
  const targets = Int32Array.from(ids, (_, i) => (i % tokens === tokens - 1 ? -1 : ids[i + 1]!));
  return {
    name,
    async turn() {
      const started = performance.now();
      const streams = await features.features(ids, batch, tokens);
      const between = performance.now();
      const byCut = new Map(cuts.map((cut, i) => [cutName(cut), streams[i]!]));
      const stream = byCut.get(cutName(finalCut(model.spec)));
      const final = stream ? normState(model.spec, lastNorm, stream) : null;
      await step.update({ batch, tokens, features: byCut, targets, final }, settings);
      const ended = performance.now();
      return {
        [`${name} backbone`]: (between - started) / 1000,
        [`${name} update`]: (ended - between) / 1000,
        [name]: (ended - started) / 1000,
      };
    },
  };
}
