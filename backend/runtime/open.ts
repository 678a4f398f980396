/** Opens models in ggml: in which form their weights are computed with is chosen here. */
import type { ExitSpec } from '../exits/spec.ts';
import { blockInfo } from '../formats/dequantise.ts';
import { elementCount } from '../formats/safetensors.ts';
import type { Model } from '../model/open.ts';
import type { Cut } from '../model/spec.ts';
import { openGgmlFeatures, openGgmlScorer } from './ggml/features.ts';
import { openGgmlModel } from './ggml/model.ts';
import type { GgmlOptions } from './ggml/runtime.ts';
import { openGgmlTeacher } from './ggml/teacher.ts';
import { noExits, type ExitSet } from './stage-tree.ts';
import type { ExitScorer, FeatureModel, StagedModel, TeacherModel } from './staged-model.ts';

export { noExits, onlyExits, type ExitSet } from './stage-tree.ts';
export type { ExitScorer, Scores } from './staged-model.ts';

export interface RuntimeOptions extends Omit<GgmlOptions, 'form'> {
  /**
   * `float32`: exact. `int8`: activations are rounded to 8 bits a block, and quantised weights stay in their blocks.
   * `int8-many`: rounded as is fastest for many tokens at once. Default `float32`.
   */
  readonly arithmetic?: 'float32' | 'int8' | 'int8-many';
  /** `screened`, the default: readouts use the screened head if arithmetic rounds anyway and that is faster. */
  readonly head?: NonNullable<GgmlOptions['head']>;
}

/** A model cut at its exits, ready to decode. */
export const openStagedModel = (
  model: Model,
  exits: ExitSet = noExits,
  options: RuntimeOptions = {},
): Promise<StagedModel> => openGgmlModel(model, exits, ggmlOptions(model, options));

/** The frozen backbone up to the deepest of `cuts`, for full sequences, with keys and values of the layers of `entries`. */
export const openFeatureModel = (
  model: Model,
  cuts: readonly Cut[],
  options: RuntimeOptions = {},
  entries: readonly number[] = [],
): Promise<FeatureModel> => openGgmlFeatures(model, cuts, ggmlOptions(model, options), entries);

/** Scores one exit (null: the final one) on full sequences. */
export const openExitScorer = (
  model: Model,
  exit: ExitSpec | null,
  exitParameters: ExitSet['parameters'] = new Map(),
  options: RuntimeOptions = {},
): Promise<ExitScorer> => openGgmlScorer(model, exit, exitParameters, ggmlOptions(model, options));

/** The final exit's whole head over full sequences, for exits that learn from it; `lists`: the tokens of their shortlists. */
export const openTeacher = (
  model: Model,
  lists: readonly (readonly number[])[],
  options: RuntimeOptions = {},
): Promise<TeacherModel> => openGgmlTeacher(model, lists, ggmlOptions(model, options));

const weightForm: Readonly<Record<NonNullable<RuntimeOptions['arithmetic']>, GgmlOptions['form']>> = {
  float32: 'exact',
  int8: 'stored',
  'int8-many': 'many',
};

export function ggmlOptions(
  model: Model,
  { arithmetic = 'float32', head = 'screened', ...options }: RuntimeOptions,
): GgmlOptions {
  const isWide = arithmetic === 'int8' && options.gpu === undefined && isSmallInFloats(model);
  return { ...options, head, form: isWide ? 'wide' : weightForm[arithmetic] };
}

/**
 * The largest model, in numbers, that fits a processor's caches. In floats it does not wait for memory, so it is computed in 32 bits, which
 * no product has to widen: half of the time in passes of several tokens. Trained heads are in bytes nevertheless, since they were tuned so.
 */
const smallModel = 1 << 23;

function isSmallInFloats({ stored }: Model): boolean {
  let numbers = 0;
  for (const { type, shape } of stored.tensors.tensors.values()) {
    if (blockInfo(type).elements > 1) return false;
    numbers += elementCount(shape);
  }
  return numbers <= smallModel;
}
