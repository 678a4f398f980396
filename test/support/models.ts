/** Tiny models and untuned exits for tests of what stands on the engine. */
import { join } from 'node:path';
import { copiedMemory, memoryCuts, memoryPath } from '../../backend/exits/memory.ts';
import { seededRandom } from '../../backend/decoding/sampling/random.ts';
import type { ExitSpec } from '../../backend/exits/spec.ts';
import { exitPath } from '../../backend/exits/spec.ts';
import { openModel, type Model } from '../../backend/model/open.ts';
import type { ParameterValues } from '../../backend/model/overlay.ts';
import type { ExitSet } from '../../backend/runtime/open.ts';
import type { TextCodec } from '../../backend/decoding/text.ts';
import { fixtures } from './golden.ts';

export const tinyModel = (family = 'llama-untied'): Model => openModel(join(fixtures, 'tiny', family));

/** Exits whose parameters are the model's own (copy initialisation, by hand). */
export function copiedExits(model: Model, specs: readonly ExitSpec[]): ExitSet {
  const parameters = new Map<string, ParameterValues>();
  const copy = (to: string, from: string): void => {
    for (const kind of ['weight', 'bias']) {
      if (!model.parameters.has(`${from}.${kind}`)) continue;
      const shape = model.parameters.shape(`${from}.${kind}`);
      parameters.set(`${to}.${kind}`, { shape, data: model.parameters.values(`${from}.${kind}`) });
    }
  };
  const modules = ['gate_proj', 'up_proj', 'down_proj'];
  for (const spec of specs) {
    const path = exitPath(spec);
    copy(`${path}.norm`, 'norm');
    if (spec.head.kind === 'own') copy(`${path}.head`, 'lm_head');
    if (spec.head.kind === 'shortlist') {
      const data = model.parameters.rows('lm_head.weight', spec.head.tokens);
      const all = new Float32Array(data.length + model.spec.hidden);
      all.set(data);
      parameters.set(`${path}.head.weight`, { shape: [spec.head.tokens.length + 1, model.spec.hidden], data: all });
    }
    if (spec.architecture === 'mlp')
      for (const m of modules) copy(`${path}.mlp.${m}`, `layers.${spec.layer - 1}.mlp.${m}`);
    if (spec.architecture === 'layer') {
      const last = `layers.${model.spec.layers.length - 1}`;
      for (const m of modules) copy(`${path}.layer.mlp.${m}`, `${last}.mlp.${m}`);
      for (const m of ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'q_norm', 'k_norm', 'sinks'])
        copy(`${path}.layer.self_attn.${m}`, `${last}.self_attn.${m}`);
      for (const m of [
        'input_layernorm',
        'post_attention_layernorm',
        'pre_feedforward_layernorm',
        'post_feedforward_layernorm',
      ])
        copy(`${path}.layer.${m}`, `${last}.${m}`);
    }
    if (spec.architecture === 'lens') {
      const n = model.spec.hidden;
      const data = new Float32Array(n * n);
      for (let i = 0; i < n; i++) data[i * n + i] = 1;
      parameters.set(`${path}.translator.weight`, { shape: [n, n], data });
    }
  }
  return { specs, parameters };
}

/** Exits with memories beside them: what the layers behind make of the stream themselves, and, if requested, noise on that. */
export function withMemories(model: Model, exits: ExitSet, noise = 0): ExitSet {
  const parameters = new Map(exits.parameters);
  const random = seededRandom(11);
  const noisy = (values: Float32Array): Float32Array => values.map((value) => value * (1 + noise * (random() - 0.5)));
  for (const cut of memoryCuts(model.spec, exits.specs)) {
    const { weight, bias } = copiedMemory(model.spec, model.parameters, cut);
    parameters.set(`${memoryPath(cut)}.weight`, { shape: [bias.length, model.spec.hidden], data: noisy(weight) });
    parameters.set(`${memoryPath(cut)}.bias`, { shape: [bias.length], data: noisy(bias) });
  }
  return { ...exits, parameters };
}

/** Every id as `<id>`. */
export const idCodec: TextCodec = {
  fim: null,
  tokenText: (id) => `<${id}>`,
  decoder: () => ({ push: (id) => `<${id}>`, flush: () => '' }),
};
