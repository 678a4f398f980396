/** The message about a model that no family reads: which of its keys no family knows, and the nearest family. */
import { userError } from '../../../protocol/errors.ts';
import { shownValue } from '../../../protocol/foreign.ts';
import { nearest } from '../../../protocol/nearest.ts';

/** Keys of a config.json, or of GGUF metadata with dots as underscores, that mean something no family computes. */
const foreign: readonly (readonly [RegExp, string])[] = [
  [/(^|_)(kv_lora_rank|q_lora_rank)$/, 'latent attention'],
  [/^(ssm_|mamba_|state_size$|time_step_)/, 'state-space layers'],
  [/^(linear_(num|key|value|conv)_|full_attention_interval$)/, 'linear attention'],
  [/^(wkv_|time_mix_|token_shift_|attention_hidden_size$)/, 'recurrent layers'],
  [/^(n_group|topk_group|expert_group_count|expert_group_used_count)$/, 'experts chosen in groups'],
  [/^(n_shared_experts|num_shared_experts|expert_shared_count)$/, 'shared experts without a gate'],
  [/^(alibi|attention_max_alibi_bias|max_alibi_bias)$/, 'positions by ALiBi'],
  [/^(is_encoder_decoder|decoder_start_token_id|relative_attention_num_buckets|encoder_layers)$/, 'an encoder'],
  [/^(vision_config|audio_config)$/, 'images or sound'],
  [/^(laurel_rank|altup_num_inputs|hidden_size_per_layer_input)$/, 'inputs for each layer'],
];

/** Keys that only mixtures of experts have. */
const ofMixtures = /^(num_experts|num_local_experts|n_routed_experts|expert_count)$/;

/** Names that differ in more letters are not similar. */
const longestName = 64;

/** `what` is the kind of name: `model type`, `GGUF architecture`. Keys are those whose values matter. */
export function unknownFamily(
  file: string,
  what: string,
  name: string,
  keys: readonly string[],
  known: readonly string[],
): Error {
  const has = foreign.filter(([pattern]) => keys.some((key) => pattern.test(key))).map(([, feature]) => feature);
  const near = nearestFamily(name.slice(0, longestName), keys, known);
  const why =
    has.length > 0
      ? `: it has ${has.join(' and ')}, which no family here computes`
      : ': no family here says how its layers compute';
  return userError(
    'unsupported',
    `${file}: the ${what} ${shownValue(name)} is not supported${why}. The nearest that is: ${near}.`,
    `Supported: ${known.join(', ')}.`,
  );
}

/** By name: the fewest different letters, else the longest common beginning; else a family that, like the model, has experts or not. */
function nearestFamily(name: string, keys: readonly string[], known: readonly string[]): string {
  const close = nearest(name, known);
  if (close !== null) return close;
  const common = (other: string): number => {
    let length = 0;
    while (length < name.length && name[length] === other[length]) length++;
    return length;
  };
  const best = [...known].sort((a, b) => common(b) - common(a))[0]!;
  if (common(best) >= 4) return best;
  return known.find((each) => each === (keys.some((key) => ofMixtures.test(key)) ? 'mixtral' : 'llama')) ?? 'llama';
}
