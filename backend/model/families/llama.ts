/** Llama and the families that differ from it by a norm, a bias or a window. */
import { limits, type Config } from './config.ts';
import { fusedSource, huggingFaceSource, llamaLike, layerTypes, windowOf, withWindow, type Family } from './family.ts';
import type { LayerSpec, ModelSpec } from '../spec.ts';

export const llama: Family = {
  types: ['llama'],
  spec: (config) => llamaLike(config, 'llama'),
  source: huggingFaceSource,
};

export const mistral: Family = {
  types: ['mistral'],
  spec: (config) => withWindow(config, llamaLike(config, 'mistral'), windowOf(config)),
  source: huggingFaceSource,
};

export const qwen2: Family = {
  types: ['qwen2'],
  spec: (config) => qwenWindow(config, llamaLike(config, 'qwen2'), 28),
  source: huggingFaceSource,
};

export const qwen3: Family = {
  types: ['qwen3'],
  spec: (config) => qwenWindow(config, llamaLike(config, 'qwen3', { qkNorm: 'head' }), 28),
  source: huggingFaceSource,
};

export const olmo2: Family = {
  types: ['olmo2'],
  spec: (config) => llamaLike(config, 'olmo2', { qkNorm: 'all', normPlacement: 'post' }),
  source: huggingFaceSource,
};

/** Some layers carry no positions at all, `no_rope_layers[i] = 0`; windows, if there are any, are theirs. */
export const smollm3: Family = {
  types: ['smollm3'],
  spec: (config) => {
    const spec = llamaLike(config, 'smollm3', { tied: config.boolean('tie_word_embeddings', true) });
    const interval = config.size('no_rope_layer_interval', limits.layers, 4);
    const rotated = config.perLayer('no_rope_layers', [0, 1], spec.layers.length);
    const layers = spec.layers.map((layer, i) => {
      const hasRope = rotated ? rotated[i] === 1 : (i + 1) % interval !== 0;
      return hasRope ? layer : { ...layer, rope: null };
    });
    return switchedWindow(config, { ...spec, layers }, ({ rope }) => rope === null);
  },
  source: huggingFaceSource,
};

/** q, k, v and gate, up are stored as one tensor each. */
export const phi3: Family = {
  types: ['phi3'],
  spec: (config) => withWindow(config, llamaLike(config, 'phi3'), windowOf(config)),
  source: (parameter, spec) =>
    fusedSource(parameter, spec, huggingFaceSource, 'self_attn.qkv_proj', 'mlp.gate_up_proj'),
};

/** Qwen's windows are in the layers from `max_window_layers` on; `first`: the first of them if the config does not say. */
export const qwenWindow = (config: Config, spec: ModelSpec, first: number): ModelSpec =>
  switchedWindow(config, spec, (_, i) => i >= config.whole('max_window_layers', [0, limits.layers], first));

/** Windows apply only if `use_sliding_window` is set: in the layers that `layer_types` names, else in those that `isNear` chooses. */
function switchedWindow(
  config: Config,
  spec: ModelSpec,
  isNear: (layer: LayerSpec, index: number) => boolean,
): ModelSpec {
  if (!config.boolean('use_sliding_window', false)) return spec;
  const window = windowOf(config);
  if (layerTypes(config, spec.layers.length)) return withWindow(config, spec, window);
  return { ...spec, layers: spec.layers.map((layer, i) => ({ ...layer, window: isNear(layer, i) ? window : null })) };
}
