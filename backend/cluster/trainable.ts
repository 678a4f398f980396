/** Which models PyTorch tunes: Hugging Face directories of dense models. Said before anything is read or written. */
import { userError } from '../../protocol/errors.ts';
import { shown } from '../../protocol/shown.ts';
import { statOf } from '../formats/files.ts';
import { openGguf } from '../formats/gguf.ts';
import { readSpec } from '../model/sources.ts';
import { isMixture, type ModelSpec } from '../model/spec.ts';

/**
 * What the configuration of such a model says; its weights need not be there.
 * @throws UserError for a GGUF file, a mixture of experts, and a configuration that cannot be used.
 */
export function requireTrainable(path: string): ModelSpec {
  if (!statOf(path)?.isDirectory()) throw notADirectory(path);
  const spec = readSpec(path);
  requireDense(spec, path);
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

/** Says which model to give instead, where a GGUF file tells what it was made of. */
function notADirectory(path: string): Error {
  const made = path.toLowerCase().endsWith('.gguf') ? originOf(path) : null;
  const instead = made === null ? '' : ` (${made})`;
  return userError(
    'unsupported',
    `${path} is no Hugging Face directory, and PyTorch reads no other model.`,
    `Give the directory of the original model${instead}, or tune here (--on here).`,
  );
}

/** What a GGUF file was made of: a name on the hub where there is one, else the model's own; null where it says neither. */
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
