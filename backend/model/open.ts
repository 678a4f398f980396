/** Opens a model that lies on this machine: a Hugging Face directory or a GGUF file. */
import { existsSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { userError } from '../../protocol/errors.ts';
import { shownValue } from '../../protocol/foreign.ts';
import { readText, statOf } from '../system/files.ts';
import { dequantise } from '../formats/dequantise.ts';
import { openGguf } from '../formats/gguf.ts';
import { elementCount, openSafetensors } from '../formats/safetensors.ts';
import { withDenseMlps } from './dense-mlps.ts';
import type { TensorSource } from '../formats/tensor-source.ts';
import { Config } from './families/config.ts';
import type { ParameterSource } from './families/family.ts';
import { ggufModel, isOfLayer } from './families/gguf.ts';
import { familyOf } from './families/index.ts';
import { locateParameters, type Parameters } from './parameters.ts';
import type { ModelSpec } from './spec.ts';

export interface Model {
  /** Name of the directory or file. */
  readonly name: string;
  readonly path: string;
  readonly spec: ModelSpec;
  readonly parameters: Parameters;
  /** Every weight file, for hashing. */
  readonly files: readonly string[];
  /** The weights as the files have them, for writing another model from them. */
  readonly stored: StoredModel;
  close(): void;
}

export interface StoredModel {
  readonly kind: 'directory' | 'gguf';
  readonly tensors: TensorSource;
  /** The place of our parameter in the files; null if the family has none. */
  place(parameter: string): ParameterSource | null;
}

/** @throws UserError when there is no model, it is of an unknown family, or its weights do not fit its configuration. */
export function openModel(path: string): Model {
  const where = resolve(path);
  const stat = statOf(where);
  if (stat === null)
    throw userError('not-found', `There is no model at ${path}.`, 'Give a Hugging Face directory or a GGUF file.');
  return stat.isDirectory() ? openDirectory(where) : openGgufFile(where);
}

function openDirectory(path: string): Model {
  const file = join(path, 'config.json');
  if (!existsSync(file))
    throw userError('bad-model', `${path} has no config.json.`, 'Give a Hugging Face model directory or a GGUF file.');
  const config = new Config(file, parseObject(file));
  refuseQuantised(config);
  const family = familyOf(config);
  const spec = family.spec(config);
  const source = openSafetensors(path);
  const parameters = withDenseMlps(spec, locateParameters(spec, source, family.source, source.files[0] ?? path));
  const stored: StoredModel = { kind: 'directory', tensors: source, place: (name) => family.source(name, spec) };
  return { name: basename(path), path, spec, parameters, files: source.files, stored, close: () => source.close() };
}

/** Weights in FP8, or in the blocks of GPTQ, AWQ, bitsandbytes and others, lie under names and in forms of their own. */
function refuseQuantised(config: Config): void {
  const quantisation = config.object('quantization_config');
  if (quantisation === null) return;
  const method = quantisation.has('quant_method') ? quantisation.text('quant_method', '') : 'something';
  throw userError(
    'unsupported',
    `${config.file}: its weights are quantised by ${shownValue(method)} ("quantization_config"), which is not supported.`,
    'Take the model’s weights in BF16 or F16, or a GGUF file of it (Q4_K_M, Q8_0, MXFP4 and others).',
  );
}

function openGgufFile(path: string): Model {
  const source = openGguf(path);
  const embedding = source.tensors.get('token_embd.weight');
  if (!embedding)
    throw userError(
      'bad-weights',
      `${path}: the tensor "token_embd.weight" is missing.`,
      'It is no language model, or incomplete.',
    );
  const { spec, source: find } = ggufModel({
    file: path,
    metadata: source.metadata,
    hasTensor: (name) => source.tensors.has(name),
    vector: (name) => {
      const tensor = source.tensors.get(name);
      return tensor ? dequantise(tensor.type, source.read(tensor), elementCount(tensor.shape)) : null;
    },
    vocabulary: embedding.shape[0]!,
  });
  const parameters = withDenseMlps(spec, locateParameters(spec, source, find, path, isOfLayer));
  const stored: StoredModel = { kind: 'gguf', tensors: source, place: (name) => find(name, spec) };
  return { name: basename(path), path, spec, parameters, files: source.files, stored, close: () => source.close() };
}

function parseObject(file: string): Record<string, unknown> {
  const text = readText(file);
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch (cause) {
    throw userError('bad-model', `${file} is not readable JSON.`, 'Get the model’s original configuration.', cause);
  }
  throw userError('bad-model', `${file} does not hold a JSON object.`, 'Get the model’s original configuration.');
}
