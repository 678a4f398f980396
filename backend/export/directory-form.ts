/** A Hugging Face directory for a model from a GGUF file: config.json, tokenizer and tensors. */
import { ggufTokenizer } from '../data/tokenizer/gguf.ts';
import { tokenizerFiles } from '../data/tokenizer/forms.ts';
import type { GgufMetadata } from '../formats/gguf-metadata.ts';
import type { TensorData } from '../formats/safetensors.ts';
import { huggingFaceSource } from '../model/families/family.ts';
import type { Model } from '../model/open.ts';
import { convertedTensors } from './converted.ts';
import { crossingForm } from './families.ts';
import type { PlainModel } from './plain-model.ts';

/** @throws UserError `unsupported` for a family, positions or a tokenizer that a directory is not written for here. */
export function directoryForm(
  model: Model,
  metadata: GgufMetadata,
  plain: PlainModel,
): { readonly files: Readonly<Record<string, object>>; readonly tensors: TensorData[] } {
  const { spec, parameters, path } = model;
  const { className, theta } = crossingForm(model);
  const parts = ggufTokenizer(path, metadata);
  const hasBias = (module: string): boolean => parameters.has(`layers.0.${module}.bias`);
  const config = {
    architectures: [className],
    model_type: spec.family,
    vocab_size: spec.vocabulary,
    hidden_size: spec.hidden,
    intermediate_size: spec.feedForward,
    num_hidden_layers: plain.layers,
    num_attention_heads: spec.heads,
    num_key_value_heads: spec.kvHeads,
    head_dim: spec.headDimensions,
    hidden_act: 'silu',
    max_position_embeddings: spec.contextLength,
    rms_norm_eps: spec.norm.epsilon,
    // Transformers 4 reads the one, 5 the other.
    rope_theta: theta,
    rope_parameters: { rope_type: 'default', rope_theta: theta },
    ...(spec.family === 'llama' && {
      attention_bias: hasBias('self_attn.q_proj'),
      mlp_bias: hasBias('mlp.up_proj'),
    }),
    tie_word_embeddings: spec.tied && !plain.parameters.has('lm_head.weight'),
    ...(parts.bosId !== null && { bos_token_id: parts.bosId }),
    ...(parts.eosIds.length > 0 && { eos_token_id: parts.eosIds[0] }),
    torch_dtype: 'float32',
    use_cache: true,
  };
  return {
    files: { 'config.json': config, ...tokenizerFiles(path, parts, spec.contextLength) },
    tensors: convertedTensors(model, plain, huggingFaceSource, null),
  };
}
