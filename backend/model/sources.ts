/** The places of a Hugging Face directory's parameters, as data, so that a program that knows no families can read them under our names. */
import { resolve } from 'node:path';
import { openSafetensors } from '../formats/safetensors.ts';
import { configuredModel } from './configured.ts';
import { expectedParameters } from './expected-parameters.ts';
import type { ModelSpec } from './spec.ts';

/** A parameter's place in the files: tensors one behind the other; `rows`: only these rows of them; `transposed`: stored as `[in, out]`. */
export interface ParameterPlace {
  readonly tensors: readonly string[];
  readonly rows?: readonly number[];
  readonly transposed?: boolean;
}

/** The model of a directory as its configuration has it; its weights need not be there. @throws UserError for a configuration that cannot be used. */
export const readSpec = (path: string): ModelSpec => configuredModel(path).spec;

/** Its `model_type`, which of a model with vision is not that of its language part. */
export const modelTypeOf = (path: string): string => configuredModel(path).config.text('model_type', '');

/** The places of some parameters by our names; those that the model does not have are left out. */
export function parameterPlaces(path: string, names: Iterable<string>): Record<string, ParameterPlace> {
  const { spec, family } = configuredModel(path);
  const source = openSafetensors(resolve(path));
  try {
    const known = new Set(expectedParameters(spec).map(({ name }) => name));
    const placeOf = (name: string): ParameterPlace | null => {
      const place = known.has(name) ? family.source(name, spec) : null;
      const tensor = place && [place.tensor, ...(place.aliases ?? [])].find((each) => source.tensors.has(each));
      if (!place || !tensor) return null;
      const { rows, transposed, pieces } = place;
      return { tensors: pieces ?? [tensor], ...(rows && { rows: [...rows] }), ...(transposed && { transposed }) };
    };
    const places: Record<string, ParameterPlace> = {};
    for (const name of names) {
      const isHead = name === 'lm_head.weight';
      const own = isHead && spec.tied ? null : placeOf(name);
      const place = own ?? (isHead ? placeOf('embed_tokens.weight') : null);
      if (place) places[name] = place;
    }
    return places;
  } finally {
    source.close();
  }
}
