/** Which files of a hub repository make a model. */
import { userError } from '../../protocol/errors.ts';

export interface HubFile {
  readonly path: string;
  readonly size: number;
  /** Of the content, for files in large-file storage. */
  readonly sha256: string | null;
  /** Git's id of the content, for the others. */
  readonly blob: string | null;
}

/**
 * The files to download, those beside the weights first, and which of them is the model: `.` for a directory, or a GGUF file. Throws
 * `not-found` for a file that does not exist, `unsupported` if there is no model, more than one, or one that lacks a file.
 */
export function selectFiles(
  { repository, file }: { readonly repository: string; readonly file: string | null },
  files: readonly HubFile[],
): { wanted: HubFile[]; target: string } {
  const ggufs = files.filter(({ path }) => path.endsWith('.gguf'));
  if (file !== null && !file.endsWith('.gguf'))
    throw userError(
      'unsupported',
      `${file} of ${repository} is no GGUF file.`,
      `For its safetensors name ${repository} alone. ${listed(ggufs)}`.trimEnd(),
    );
  if (file !== null) {
    const found = files.find(({ path }) => path === file);
    if (found === undefined)
      throw userError(
        'not-found',
        `${repository} has no file ${file}.`,
        `${listed(ggufs) || 'It holds no GGUF file.'}`,
      );
    return { wanted: wholeOf(repository, found, files), target: file };
  }
  const single = files.some(({ path }) => path === 'model.safetensors');
  const sharded = files.some(({ path }) => path === 'model.safetensors.index.json');
  if (single || sharded) {
    const missing = needed.find((name) => !files.some(({ path }) => path === name));
    if (missing !== undefined)
      throw userError(
        'unsupported',
        `${repository} has no ${missing}, without which its weights cannot be used here.`,
        ggufs.length > 0 ? `Choose a GGUF file of it. ${listed(ggufs)}` : 'Choose another model.',
      );
    if (!single) requireAllShards(repository, files);
    const weights = single ? /^model\.safetensors$/ : /^model(-\d+-of-\d+\.safetensors|\.safetensors\.index\.json)$/;
    const bySize = (some: HubFile[]): HubFile[] => some.sort((a, b) => a.size - b.size);
    const beside = bySize(files.filter(isBesideWeights));
    return { wanted: [...beside, ...bySize(files.filter(({ path }) => weights.test(path)))], target: '.' };
  }
  const models = ggufs.filter(({ path }) => !isLaterPart(path));
  const [only] = models;
  if (only !== undefined && models.length === 1) return { wanted: wholeOf(repository, only, files), target: only.path };
  throw userError(
    'unsupported',
    models.length > 1
      ? `${repository} has ${models.length} GGUF files.`
      : `${repository} has no safetensors and no GGUF file.`,
    models.length > 1
      ? `Name one, as in ${repository}:${preferred(models)}. ${listed(models)}`
      : 'Choose another model.',
  );
}

/** A GGUF file that another one begins: `…-00002-of-00003.gguf`. */
export const isLaterPart = (file: string): boolean => /-(?!00001-)\d{5}-of-\d{5}\.gguf$/.test(file);

/** A GGUF file may be one part of a model: those of its parts that exist, in order, and their full number. Any other file is its only part. */
export function partsOf<F extends { readonly path: string }>(
  file: F,
  files: readonly F[],
): { parts: F[]; count: number } {
  const [, stem, count] = /^(.*-)\d{5}-of-(\d{5})\.gguf$/.exec(file.path) ?? [];
  if (stem === undefined) return { parts: [file], count: 1 };
  const isPart = ({ path }: F): boolean =>
    path.startsWith(stem) && /^\d{5}-of-(\d{5})\.gguf$/.exec(path.slice(stem.length))?.[1] === count;
  const parts = files.filter(isPart).sort((a, b) => (a.path < b.path ? -1 : 1));
  return { parts, count: Number(count) };
}

/** Of a model whose weights lie in several files. */
function requireAllShards(repository: string, files: readonly HubFile[]): void {
  const counts = files.flatMap(({ path }) => /^model-\d+-of-(\d+)\.safetensors$/.exec(path)?.[1] ?? []);
  const count = Math.max(1, ...counts.map(Number));
  if (counts.length < count)
    throw userError(
      'not-found',
      `${repository} has ${counts.length} of the ${count} parts of its weights.`,
      'Choose another model, or try again when all parts are there.',
    );
}

function wholeOf(repository: string, file: HubFile, files: readonly HubFile[]): HubFile[] {
  const { parts, count } = partsOf(file, files);
  if (parts.length === count) return parts;
  throw userError(
    'not-found',
    `${repository} has ${parts.length} of the ${count} parts of ${file.path}.`,
    'Choose another file of it, or another model.',
  );
}

/** Without these a directory of weights cannot be opened. */
const needed = ['config.json', 'tokenizer.json'];

const sideFiles: ReadonlySet<string> = new Set([
  ...needed,
  'generation_config.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'chat_template.jinja',
  'chat_template.json',
]);

export const isBesideWeights = ({ path }: HubFile): boolean => sideFiles.has(path);

const maxListed = 12;
const listed = (files: readonly HubFile[]): string =>
  files.length === 0
    ? ''
    : `It has ${files
        .slice(0, maxListed)
        .map(({ path }) => path)
        .join(', ')}${files.length > maxListed ? ' …' : ''}.`;

/** A good default among quantisations that run in their own blocks. */
const preferred = (files: readonly HubFile[]): string =>
  (
    ['Q4_K_M', 'Q8_0', 'Q4_1', 'Q4_0'].flatMap((type) =>
      files.filter(({ path }) => path.toUpperCase().includes(type)),
    )[0] ?? files[0]!
  ).path;
