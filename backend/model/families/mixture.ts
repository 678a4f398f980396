/** What families with mixtures of experts share: counts in a config, and names of experts in checkpoints. */
import { userError } from '../../../protocol/errors.ts';
import type { MixtureSpec, ModelSpec } from '../spec.ts';
import { limits, type Config } from './config.ts';
import { huggingFaceSource, layerParameter, type ParameterSource } from './family.ts';

/** A mixture from a config: each expert is a gated MLP of `intermediate_size`, and their weights sum to 1 by default. */
export function mixtureOf(config: Config, different: Partial<MixtureSpec> = {}): MixtureSpec {
  const experts = config.size(config.has('num_experts') ? 'num_experts' : 'num_local_experts', limits.experts);
  const feedForward = different.feedForward ?? config.size('intermediate_size', limits.feedForward);
  if (experts * feedForward > limits.mixtureWidth)
    throw userError(
      'bad-model',
      `${config.file}: ${experts} experts of a width of ${feedForward} are more than a model has.`,
    );
  return {
    experts,
    chosen: config.size('num_experts_per_tok', experts),
    feedForward,
    normalised: true,
    shared: null,
    limit: null,
    ...different,
  };
}

/** The model with a mixture in place of every dense MLP, or of those of some layers (counted from 0). */
export const withMixture = (
  spec: ModelSpec,
  mixture: MixtureSpec,
  isMixture: (layer: number) => boolean = () => true,
): ModelSpec => ({
  ...spec,
  layers: spec.layers.map((layer, i) => (isMixture(i) ? { ...layer, mixture } : layer)),
});

type ExpertModule = 'gate_proj' | 'up_proj' | 'down_proj';

/** A parameter of a layer's experts; null for any other. */
export function expertParameter(
  parameter: string,
  spec: ModelSpec,
): { layer: number; module: ExpertModule; kind: string; mixture: MixtureSpec } | null {
  const part = layerParameter(parameter);
  const module = /^mlp\.experts\.(gate_proj|up_proj|down_proj)$/.exec(part?.module ?? '')?.[1];
  const mixture = part && spec.layers[part.layer]?.mixture;
  return part && module && mixture ? { ...part, module: module as ExpertModule, mixture } : null;
}

/** Experts in tensors of their own: `model.layers.3.<block>.experts.7.<name>.weight`. Other parameters by `others`. */
export const separateExperts =
  (block: string, names: Readonly<Record<ExpertModule, string>>, others = huggingFaceSource) =>
  (parameter: string, spec: ModelSpec): ParameterSource => {
    const part = expertParameter(parameter, spec);
    if (!part) return others(parameter);
    const pieces = Array.from(
      { length: part.mixture.experts },
      (_, n) => `model.layers.${part.layer}.${block}.experts.${n}.${names[part.module]}.${part.kind}`,
    );
    return { tensor: pieces[0]!, pieces };
  };

/** The rows of gates or of ups if each expert stores both in one matrix: gates first, or (`interleaved`) gate and up in turn. */
export function gateUpRows(
  { experts, feedForward }: MixtureSpec,
  module: 'gate_proj' | 'up_proj',
  interleaved = false,
): Pick<ParameterSource, 'rows' | 'rowsStored'> {
  const isUp = Number(module === 'up_proj');
  const rowsStored = 2 * experts * feedForward;
  const rows = Int32Array.from({ length: experts * feedForward }, (_, i) => {
    const within = i % feedForward;
    const first = 2 * (i - within);
    return first + (interleaved ? 2 * within + isUp : isUp * feedForward + within);
  });
  return { rows, rowsStored };
}
