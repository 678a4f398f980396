/** Families in other programs: those that can be written in the other format than their base's, and those whose heads may have a bias. */
import { userError } from '../../protocol/errors.ts';
import type { Model } from '../model/open.ts';
import type { ModelSpec } from '../model/spec.ts';

export type PlainFormat = 'hf' | 'gguf';

export const formatOf = ({ stored }: Pick<Model, 'stored'>): PlainFormat => (stored.kind === 'gguf' ? 'gguf' : 'hf');

interface Crossing {
  /** `general.architecture`; our `family` is the `model_type`. */
  readonly architecture: string;
  /** Transformers' class. */
  readonly className: string;
  /** llama.cpp divides frequencies by factors that lie in the file (`rope_freqs.weight`). */
  readonly frequencyFactors?: boolean;
}

const crossings: ReadonlyMap<string, Crossing> = new Map<string, Crossing>([
  ['llama', { architecture: 'llama', className: 'LlamaForCausalLM', frequencyFactors: true }],
  ['qwen2', { architecture: 'qwen2', className: 'Qwen2ForCausalLM' }],
  ['qwen3', { architecture: 'qwen3', className: 'Qwen3ForCausalLM' }],
]);

/** Families whose language model may be part of a model with vision, and Transformers' name for that part alone. */
const textModels: ReadonlyMap<string, { readonly model_type: string; readonly architectures: readonly string[] }> =
  new Map([
    ['gemma3', { model_type: 'gemma3_text', architectures: ['Gemma3ForCausalLM'] }],
    ['mistral', { model_type: 'mistral', architectures: ['MistralForCausalLM'] }],
    ['ministral3', { model_type: 'ministral3', architectures: ['Ministral3ForCausalLM'] }],
  ]);

/** Keys of the whole configuration that may describe its language part. */
const sharedNames = ['dtype', 'torch_dtype', 'bos_token_id', 'pad_token_id'];

/** The configuration of the language part alone; null if the configuration is that of a language model. */
export function textConfig(
  { family, tied }: Pick<ModelSpec, 'family' | 'tied'>,
  config: Readonly<Record<string, unknown>>,
): object | null {
  const { text_config: text, eos_token_id: ends } = config;
  const alone = textModels.get(family);
  if (!alone || typeof text !== 'object' || text === null) return null;
  const shared = Object.fromEntries(Object.entries(config).filter(([name]) => sharedNames.includes(name)));
  // Tied as it was read: the whole configuration may say otherwise of another part.
  return { ...shared, ...text, ...(ends !== undefined && { eos_token_id: ends }), tie_word_embeddings: tied, ...alone };
}

/** Families whose head has a bias if the file has one, in the programs that read the format. */
const biased: Readonly<Record<PlainFormat, readonly string[]>> = { hf: ['phi'], gguf: ['phi', 'qwen2'] };

export const takesHeadBias = ({ family }: ModelSpec, format: PlainFormat): boolean => biased[format].includes(family);

export interface CrossingForm extends Crossing {
  /** Base of the rotary frequencies. */
  readonly theta: number;
  /** What all frequencies are divided by; 1: nothing. */
  readonly linear: number;
  /** What each is divided by, in the order of dimensions; null: nothing. */
  readonly factors: Float32Array | null;
}

/**
 * The facts about a model that both formats express.
 * @throws UserError `unsupported` if the other format, as it is written here, cannot express the base.
 */
export function crossingForm({ spec, name, stored, parameters }: Model): CrossingForm {
  const has = formatOf({ stored }) === 'gguf' ? 'a GGUF file' : 'a Hugging Face directory';
  const wayOut =
    has === 'a GGUF file'
      ? 'Give --format gguf, or the base as a Hugging Face directory.'
      : "Give --format hf, and convert the result with llama.cpp's convert_hf_to_gguf.py.";
  const refuse = (why: string): Error =>
    userError('unsupported', `${name} is ${has}, and its other format is not written here: ${why}.`, wayOut);
  const crossing = crossings.get(spec.family);
  if (!crossing) throw refuse(`its family is ${spec.family}, not one of ${[...crossings.keys()].join(', ')}`);
  if (spec.layers.some(({ window }) => window !== null)) throw refuse('its layers see a window');
  const biases = ['q', 'o'].map((which) => parameters.has(`layers.0.self_attn.${which}_proj.bias`));
  if (spec.family === 'llama' && biases[0] !== biases[1])
    throw refuse('some of its projections of attention have biases, and others none');
  const frequencies = frequencyForm(spec);
  if (!frequencies) throw refuse('its positions turn in a way of their own');
  const { factors, linear } = frequencies;
  const isExpressible = has === 'a GGUF file' ? linear === 1 && !factors : !factors || crossing.frequencyFactors;
  if (!isExpressible) throw refuse('its rotary frequencies are scaled');
  return { ...crossing, ...frequencies };
}

/** A difference of frequencies that rounding explains. */
const rounding = 1e-6;

function frequencyForm({
  layers,
  headDimensions,
}: ModelSpec): Pick<CrossingForm, 'theta' | 'linear' | 'factors'> | null {
  const first = layers[0]!.rope;
  const isOne = layers.every(({ rope, queryRope }) => !queryRope && JSON.stringify(rope) === JSON.stringify(first));
  if (!isOne || !first || first.dimensions !== headDimensions || headDimensions < 4) return null;
  if (first.scale !== 1 || first.long || first.growth) return null;
  // The first turns by 1 a token, which linear scaling alone changes; the second still so fast that no other touches it.
  const linear = rounded(1 / first.inverseFrequencies[0]!);
  const frequencies = first.inverseFrequencies.map((f) => f * linear);
  const theta = rounded(frequencies[1]! ** (-headDimensions / 2));
  const factors = frequencies.map((f, j) => theta ** ((-2 * j) / headDimensions) / f);
  const isPlain = factors.every((factor) => Math.abs(factor - 1) < rounding);
  if (!isPlain && linear !== 1) return null;
  return { theta, linear, factors: isPlain ? null : Float32Array.from(factors) };
}

const rounded = (value: number): number => Number(value.toPrecision(9));
