/** Opens models: which engine computes what is chosen here, by one table. */
import type { ExitSpec } from '../exits/spec.ts';
import type { Model } from '../model/open.ts';
import type { Cut } from '../model/spec.ts';
import { engineOf, ggmlOptions, type RuntimeOptions } from './engines.ts';
import { openGgmlFeatures, openGgmlScorer } from './ggml-features.ts';
import { openGgmlModel } from './ggml-model.ts';
import { withHeldSlots } from './held-slots.ts';
import { openOnnxFeatures, openOnnxScorer, openPassModel } from './onnx-model.ts';
import { noExits, type ExitSet } from './stage-tree.ts';
import type { ExitScorer, FeatureModel, StagedModel } from './staged-model.ts';

export { openPassModel } from './onnx-model.ts';
export { noExits, onlyExits, type ExitSet } from './stage-tree.ts';
export type { RuntimeOptions } from './engines.ts';
export type { ExitScorer, Scores } from './staged-model.ts';

/** A model cut at its exits, ready to decode. */
export async function openStagedModel(
  model: Model,
  exits: ExitSet = noExits,
  options: RuntimeOptions = {},
): Promise<StagedModel> {
  return engineOf(model, options) === 'ggml'
    ? openGgmlModel(model, exits, ggmlOptions(model, options))
    : withHeldSlots(await openPassModel(model, exits, options));
}

/** The frozen backbone up to the deepest of `cuts`, for full sequences. */
export async function openFeatureModel(
  model: Model,
  cuts: readonly Cut[],
  options: RuntimeOptions = {},
): Promise<FeatureModel> {
  return engineOf(model, options) === 'ggml'
    ? openGgmlFeatures(model, cuts, ggmlOptions(model, options))
    : openOnnxFeatures(model, cuts, options);
}

/** Scores one exit (null: the final one) on full sequences. */
export async function openExitScorer(
  model: Model,
  exit: ExitSpec | null,
  held: ExitSet['parameters'] = new Map(),
  options: RuntimeOptions = {},
): Promise<ExitScorer> {
  return engineOf(model, options) === 'ggml'
    ? openGgmlScorer(model, exit, held, ggmlOptions(model, options))
    : openOnnxScorer(model, exit, held, options);
}
