/**
 * Where the parameters of a Hugging Face directory lie, as data: what lets a program that knows no families read them by our names.
 */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { userError } from '../../protocol/errors.ts';
import { shown } from '../../protocol/shown.ts';
import { fileError, statOf } from '../formats/files.ts';
import { openGguf } from '../formats/gguf.ts';
import { openSafetensors } from '../formats/safetensors.ts';
import { Config } from './families/config.ts';
import { familyOf } from './families/index.ts';
import { expectedParameters } from './expected-parameters.ts';
import type { ModelSpec } from './spec.ts';

/** A parameter's place: tensors of the files one behind the other, of which some rows, or turned round, are meant. */
export interface ParameterPlace {
  readonly tensors: readonly string[];
  readonly rows?: readonly number[];
  readonly transposed?: boolean;
}

/**
 * The model of a directory as its configuration has it; its weights need not be there.
 * @throws UserError for what PyTorch does not tune (GGUF files, mixtures of experts) and a configuration that cannot be used.
 */
export function readSpec(path: string): ModelSpec {
  const { spec } = configured(path);
  if (isMixture(spec))
    throw userError(
      'unsupported',
      `${path} is a mixture of experts, and those are not tuned in PyTorch.`,
      'Tune it here (--on here).',
    );
  return spec;
}

/** The places of some parameters by our names; those that the model does not have are left out. */
export function parameterPlaces(path: string, names: Iterable<string>): Record<string, ParameterPlace> {
  const { spec, family } = configured(path);
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

export const isMixture = ({ layers }: ModelSpec): boolean => layers.some(({ mixture }) => mixture);

function configured(path: string): { spec: ModelSpec; family: ReturnType<typeof familyOf> } {
  if (!statOf(path)?.isDirectory()) throw notADirectory(path);
  const file = join(path, 'config.json');
  let values: unknown;
  try {
    values = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw fileError(error, 'read', file);
  }
  if (typeof values !== 'object' || values === null || Array.isArray(values))
    throw userError('bad-model', `${file} does not hold a JSON object.`, 'Get the model’s original configuration.');
  const config = new Config(file, values as Record<string, unknown>);
  const family = familyOf(config);
  return { family, spec: family.spec(config) };
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

/** A name on the hub where there is one, else the model's own. */
function originOf(path: string): string | null {
  const file = openGguf(path);
  try {
    const keys = ['general.source.huggingface.repository', 'general.source.repo_url', 'general.name'];
    const name = keys.map((key) => file.metadata.get(key)).find((value) => typeof value === 'string' && value !== '');
    return name === undefined ? null : shown(String(name), { limit: 100 });
  } finally {
    file.close();
  }
}
