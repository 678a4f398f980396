/** A GGUF file for a model from a Hugging Face directory. Keys are llama.cpp's (gguf-py, constants.py). */
import { ggufTokenizerEntries } from '../data/tokenizer/forms.ts';
import { flagEntry, floatEntry, numberEntry, textEntry, type GgufEntry } from '../formats/gguf-writer.ts';
import { bytesOf, type TensorData } from '../formats/safetensors.ts';
import { ggufPlace } from '../model/families/gguf.ts';
import type { Model } from '../model/open.ts';
import type { QuantisedType } from '../formats/quantise-blocks.ts';
import { convertedTensors } from './converted.ts';
import { crossingForm, type CrossingForm } from './families.ts';
import type { PlainModel } from './plain-model.ts';

/** @throws UserError `unsupported` for a family, positions or a tokenizer that GGUF is not written for here. */
export function ggufForm(
  model: Model,
  plain: PlainModel,
  quantised: QuantisedType | null,
): { readonly architecture: string; readonly entries: GgufEntry[]; readonly tensors: TensorData[] } {
  const form = crossingForm(model);
  const { architecture, factors } = form;
  const place = (parameter: string) => ggufPlace(architecture, parameter, model.spec);
  const frequencies: TensorData[] = factors
    ? [{ name: 'rope_freqs.weight', type: 'F32', shape: [factors.length], bytes: bytesOf(factors) }]
    : [];
  return {
    architecture,
    entries: [...shapeEntries(model, form), ...ggufTokenizerEntries(model.path, model.spec.vocabulary)],
    tensors: [...frequencies, ...convertedTensors(model, plain, place, quantised)],
  };
}

function shapeEntries({ spec }: Model, { architecture, theta, linear }: CrossingForm): GgufEntry[] {
  const key = (name: string): string => `${architecture}.${name}`;
  const counts: Readonly<Record<string, number>> = {
    vocab_size: spec.vocabulary,
    context_length: spec.contextLength,
    embedding_length: spec.hidden,
    feed_forward_length: spec.feedForward,
    'attention.head_count': spec.heads,
    'attention.head_count_kv': spec.kvHeads,
    'attention.key_length': spec.headDimensions,
    'attention.value_length': spec.headDimensions,
    'rope.dimension_count': spec.headDimensions,
  };
  return [
    textEntry('general.architecture', architecture),
    textEntry('general.type', 'model'),
    ...Object.entries(counts).map(([name, value]) => numberEntry(key(name), value)),
    floatEntry(key('attention.layer_norm_rms_epsilon'), spec.norm.epsilon),
    floatEntry(key('rope.freq_base'), theta),
    ...(linear === 1
      ? []
      : [textEntry(key('rope.scaling.type'), 'linear'), floatEntry(key('rope.scaling.factor'), linear)]),
    numberEntry('general.quantization_version', 2),
    flagEntry('tokenizer.ggml.add_space_prefix', false),
  ];
}
