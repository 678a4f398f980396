/** Opens a model that lies on this machine: a Hugging Face directory or a GGUF file. */
import { basename, resolve } from 'node:path';
import { userError } from '../../protocol/errors.ts';
import { statOf } from '../system/files.ts';
import { dequantise } from '../formats/dequantise.ts';
import { openGguf } from '../formats/gguf.ts';
import { elementCount, openSafetensors } from '../formats/safetensors.ts';
import { configuredModel } from './configured.ts';
import { withDenseMlps } from './dense-mlps.ts';
import type { TensorSource } from '../formats/tensor-source.ts';
import type { Family, ParameterSource } from './families/family.ts';
import { ggufModel, isOfLayer } from './families/gguf.ts';
import { locateParameters, type Parameters } from './parameters.ts';
import type { ModelSpec } from './spec.ts';

export interface Model {
  /** Of its directory or file, or of its repository on the hub. */
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

/** Of its directory or file; in a cache of the hub, whose folders are called after commits, of its repository. */
export const modelName = (path: string): string =>
  /(?:^|[\\/])(?:models--)?[\w-][\w.-]*?--([\w.-]+)[\\/](?:snapshots[\\/])?[0-9a-f]{7,64}$/.exec(path)?.[1] ??
  basename(path);

function openDirectory(path: string): Model {
  const { spec, family } = configuredModel(path);
  return modelOf(path, 'directory', openSafetensors(path), (source) => ({
    spec,
    find: family.source,
    located: locateParameters(spec, source, family.source, source.files[0] ?? path),
  }));
}

function openGgufFile(path: string): Model {
  return modelOf(path, 'gguf', openGguf(path), (source) => {
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
    return { spec, find, located: locateParameters(spec, source, find, path, isOfLayer) };
  });
}

interface Described {
  readonly spec: ModelSpec;
  readonly find: Family['source'];
  readonly located: Parameters;
}

/** The model in an open source, which is closed if it is refused. */
function modelOf<S extends TensorSource>(
  path: string,
  kind: StoredModel['kind'],
  source: S,
  describe: (source: S) => Described,
): Model {
  try {
    const { spec, find, located } = describe(source);
    const stored: StoredModel = { kind, tensors: source, place: (name) => find(name, spec) };
    return {
      name: modelName(path),
      path,
      spec,
      parameters: withDenseMlps(spec, located),
      files: source.files,
      stored,
      close: () => source.close(),
    };
  } catch (error) {
    source.close();
    throw error;
  }
}
