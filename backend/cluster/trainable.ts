/** The models that PyTorch can tune: Hugging Face directories of dense models. Checked before anything is read or written. */
import { userError } from '../../protocol/errors.ts';
import { shown } from '../../protocol/shown.ts';
import { statOf } from '../system/files.ts';
import { openGguf } from '../formats/gguf.ts';
import { modelTypeOf, readSpec } from '../model/sources.ts';
import { isMixture, type ModelSpec } from '../model/spec.ts';

/** Models with vision by their `model_type`; their language part alone has another one. */
const withVision: ReadonlyMap<string, string> = new Map([
  ['mistral3', 'Mistral 3'],
  ['gemma3', 'Gemma 3'],
]);

/**
 * The configuration of the model; its weights need not exist.
 * @throws UserError for a GGUF file, a mixture of experts, a model with vision, and a configuration that cannot be used.
 */
export function requireTrainable(path: string): ModelSpec {
  if (!statOf(path)?.isDirectory()) throw notADirectory(path);
  const spec = readSpec(path);
  requireDense(spec, path);
  const seeing = withVision.get(modelTypeOf(path));
  if (seeing !== undefined)
    throw userError(
      'unsupported',
      `${path} has vision, and Transformers makes no language model of a ${seeing} that has.`,
      'Tune it here (--on here).',
    );
  return spec;
}

/** @throws UserError for a mixture of experts. */
export function requireDense(spec: ModelSpec, name: string): void {
  if (isMixture(spec))
    throw userError(
      'unsupported',
      `${name} is a mixture of experts, and those are not tuned in PyTorch.`,
      'Tune it here (--on here).',
    );
}

/** Names the model to use instead, if a GGUF file says what it was made from. */
function notADirectory(path: string): Error {
  const made = path.toLowerCase().endsWith('.gguf') ? originOf(path) : null;
  const instead = made === null ? '' : ` (${made})`;
  return userError(
    'unsupported',
    `${path} is no Hugging Face directory, and PyTorch reads no other model.`,
    `Give the directory of the original model${instead}, or tune here (--on here).`,
  );
}

/** The origin of a GGUF file: a name on the hub if there is one, else the model's own name; null if it has neither. */
export function originOf(path: string): string | null {
  const file = openGguf(path);
  try {
    const keys = ['general.source.huggingface.repository', 'general.source.repo_url', 'general.name'];
    const name = keys.map((key) => file.metadata.get(key)).find((value) => typeof value === 'string' && value !== '');
    return name === undefined ? null : shown(String(name), { limit: 100 });
  } finally {
    file.close();
  }
}
