/**
 * The tensors of a plain model in another format than its base's: each parameter under that format's name, with its rows in that format's
 * order.
 */
import { userError } from '../../protocol/errors.ts';
import { quantiseBlocks, type QuantisedType } from '../formats/quantise-blocks.ts';
import { bytesOf, type TensorData } from '../formats/safetensors.ts';
import { expectedParameters } from '../model/expected-parameters.ts';
import type { ParameterSource } from '../model/families/family.ts';
import type { Model } from '../model/open.ts';
import type { PlainModel } from './plain-model.ts';
import { floats, isMatrix, lazily, rowsStored } from './tensors.ts';

/**
 * Matrices of floats keep their type; blocks and vectors become F32. `place`: name of the tensor for a parameter.
 * @throws UserError if the format has a parameter within another tensor.
 */
export function convertedTensors(
  { spec, parameters, name: model }: Pick<Model, 'spec' | 'parameters' | 'name'>,
  plain: PlainModel,
  place: (parameter: string) => ParameterSource | null,
  quantised: QuantisedType | null,
): TensorData[] {
  // A layer of the exit's own behind the model's last is like the last.
  const layers = Array.from({ length: plain.layers }, (_, i) => spec.layers[i] ?? spec.layers.at(-1)!);
  // A tied model's head is its embedding, which is written once.
  const isKept = (name: string): boolean => parameters.has(name) && !(spec.tied && name === 'lm_head.weight');
  return expectedParameters({ ...spec, layers })
    .filter(({ name }) => plain.parameters.has(name) || isKept(name))
    .map(({ name, shape }): TensorData => {
      const found = place(name);
      if (!found || found.pieces || found.transposed)
        throw userError(
          'unsupported',
          `${model}: the other format stores "${name}" inside another tensor or transposed, and export cannot write that.`,
        );
      const own = plain.parameters.get(name);
      const stored = own ? null : parameters.storedType(name);
      const values = (): Float32Array => rowsStored(own?.data ?? parameters.values(name), found.rows, shape);
      const tensor = { name: found.tensor, shape };
      if (quantised !== null && isMatrix(found.tensor, shape))
        return { ...tensor, type: quantised, bytes: lazily(() => quantiseBlocks(quantised, values())) };
      return stored !== null && floats.includes(stored)
        ? { ...tensor, type: stored, bytes: lazily(() => rowsStored(parameters.stored(name), found.rows, shape)) }
        : { ...tensor, type: 'F32', bytes: lazily(() => bytesOf(values())) };
    });
}
