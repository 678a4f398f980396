/**
 * Rotary frequencies of a config, in Transformers 4's keys (`rope_theta`, `rope_scaling`) or 5's (`rope_parameters`). The scalings
 * are those of Transformers' modeling_rope_utils.py; `dynamic` differs from `default` only behind the model's context.
 */
import { userError } from '../../../protocol/errors.ts';
import { shownValue } from '../../../protocol/foreign.ts';
import type { RopeSpec } from '../spec.ts';
import { limits, type Config } from './config.ts';

export interface RopeOptions {
  readonly name?: string;
  readonly theta?: number;
  /** Share of a head that is rotated. */
  readonly share?: number;
  /** Parameters of this kind of layer, if the config has them by layer type. */
  readonly parameters?: Config | null;
}

/** @throws UserError for a scaling that is unknown or lacks a number, and for dimensions that are no pairs. */
export function rope(config: Config, headDimensions: number, options: RopeOptions = {}): RopeSpec {
  const parameters = options.parameters ?? config.object('rope_parameters') ?? config.object('rope_scaling');
  const theta =
    parameters?.optionalNumber('rope_theta', limits.theta) ??
    options.theta ??
    config.number('rope_theta', limits.theta, 10000);
  const plain: RopeSpec = {
    name: options.name ?? 'rope',
    ...plainFrequencies(config, parameters, headDimensions, theta, options.share),
    scale: 1,
    long: null,
    growth: null,
  };
  const { inverseFrequencies: base } = plain;
  if (!parameters) return plain;
  const type = parameters.text('rope_type', parameters.text('type', 'default'));
  switch (type) {
    case 'default':
    case 'dynamic':
      return plain;
    case 'linear': {
      const factor = parameters.number('factor', limits.ropeFactor);
      return { ...plain, inverseFrequencies: base.map((f) => f / factor) };
    }
    case 'llama3':
      return { ...plain, inverseFrequencies: llama3(base, parameters) };
    case 'yarn':
      // The first configs of Phi 3 call their longrope "yarn".
      return parameters.has('long_factor')
        ? longrope(plain, config, parameters)
        : yarn(plain, theta, config, parameters);
    case 'longrope':
    case 'su':
      return longrope(plain, config, parameters);
    default:
      throw userError(
        'unsupported',
        `${config.file}: rotary scaling ${shownValue(type)} is not supported.`,
        'Known: default, dynamic, linear, llama3, longrope, yarn.',
      );
  }
}

function plainFrequencies(
  config: Config,
  parameters: Config | null,
  headDimensions: number,
  theta: number,
  given: number | undefined,
): Pick<RopeSpec, 'dimensions' | 'inverseFrequencies'> {
  const share =
    parameters?.optionalNumber('partial_rotary_factor', limits.rotaryShare) ??
    given ??
    config.number('partial_rotary_factor', limits.rotaryShare, 1);
  // A share made of two whole numbers may come back a little below their ratio.
  const dimensions = Math.trunc(headDimensions * share + 1e-6);
  if (dimensions < 2 || dimensions % 2 !== 0)
    throw userError(
      'bad-model',
      `${config.file}: ${dimensions} of the ${headDimensions} dimensions of a head would rotate, which are no pairs.`,
      'Get the model’s original configuration.',
    );
  return {
    dimensions,
    inverseFrequencies: Array.from({ length: dimensions / 2 }, (_, j) => theta ** ((-2 * j) / dimensions)),
  };
}

/** `_compute_llama3_parameters`: long wavelengths are divided, short ones kept, those between blended. */
function llama3(base: readonly number[], parameters: Config): number[] {
  const factor = parameters.number('factor', limits.ropeFactor);
  const low = parameters.number('low_freq_factor', limits.ropeFactor);
  const high = parameters.number('high_freq_factor', [low, limits.ropeFactor[1]]);
  const original = parameters.size('original_max_position_embeddings', limits.context);
  return base.map((f) => {
    const wavelength = (2 * Math.PI) / f;
    if (wavelength < original / high) return f;
    if (wavelength > original / low) return f / factor;
    const smooth = high === low ? 1 : (original / wavelength - low) / (high - low);
    return ((1 - smooth) * f) / factor + smooth * f;
  });
}

/** `_compute_yarn_parameters` (arXiv 2309.00071): dimensions that turn often keep their frequency, slow ones are divided. */
function yarn(plain: RopeSpec, theta: number, config: Config, parameters: Config): RopeSpec {
  const context = config.size('max_position_embeddings', limits.context, 2048);
  const original = parameters.optionalSize('original_max_position_embeddings', limits.context) ?? context;
  const factor = parameters.optionalNumber('factor', limits.ropeFactor) ?? context / original;
  const { dimensions, inverseFrequencies: base } = plain;
  /** The dimension that turns `rotations` times within the original context. */
  const dimensionOf = (rotations: number): number =>
    (dimensions * Math.log(original / (rotations * 2 * Math.PI))) / (2 * Math.log(theta));
  const isTruncated = parameters.boolean('truncate', true);
  const first = dimensionOf(parameters.number('beta_fast', limits.rotations, 32));
  const last = dimensionOf(parameters.number('beta_slow', limits.rotations, 1));
  const from = Math.max(isTruncated ? Math.floor(first) : first, 0);
  const to = Math.min(isTruncated ? Math.ceil(last) : last, dimensions - 1);
  const length = to === from ? 0.001 : to - from;
  const inverseFrequencies = base.map((f, j) => {
    const divided = Math.min(1, Math.max(0, (j - from) / length));
    return (f / factor) * divided + f * (1 - divided);
  });
  return { ...plain, inverseFrequencies, scale: yarnScale(factor, parameters) };
}

function yarnScale(factor: number, parameters: Config): number {
  const given = parameters.optionalNumber('attention_factor', limits.scale);
  if (given !== null) return given;
  const scale = (weight: number): number => (factor <= 1 ? 1 : 0.1 * weight * Math.log(factor) + 1);
  const some = parameters.optionalNumber('mscale', [0, limits.scale[1]]);
  const all = parameters.optionalNumber('mscale_all_dim', [0, limits.scale[1]]);
  return some && all ? scale(some) / scale(all) : scale(1);
}

/** `_compute_longrope_parameters` (arXiv 2402.13753): one list of factors for short texts, one for long. */
function longrope(plain: RopeSpec, config: Config, parameters: Config): RopeSpec {
  const { inverseFrequencies: base } = plain;
  const context = config.size('max_position_embeddings', limits.context, 2048);
  const key = 'original_max_position_embeddings';
  const original = config.optionalSize(key, limits.context) ?? parameters.optionalSize(key, limits.context) ?? context;
  const factor =
    original === context ? (parameters.optionalNumber('factor', limits.ropeFactor) ?? 1) : context / original;
  const scale =
    parameters.optionalNumber('attention_factor', limits.scale) ??
    (factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original)));
  const divided = (factors: string): number[] => {
    const by = parameters.numbers(factors, limits.ropeFactor, base.length);
    return base.map((f, j) => f / by[j]!);
  };
  return {
    ...plain,
    scale,
    inverseFrequencies: divided('short_factor'),
    long: { beyond: original, inverseFrequencies: divided('long_factor') },
  };
}
