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
 * The files to have, small ones first, and what of them is the model: `.` for a directory, or a GGUF file. Throws `not-found` for a
 * file that is not there, `unsupported` where there is no model or more than one.
 */
export function selectFiles(
  { repository, file }: { readonly repository: string; readonly file: string | null },
  files: readonly HubFile[],
): { wanted: HubFile[]; target: string } {
  const ggufs = files.filter(({ path }) => path.endsWith('.gguf'));
  if (file !== null) {
    const found = files.find(({ path }) => path === file);
    if (found === undefined)
      throw userError(
        'not-found',
        `${repository} has no file ${file}.`,
        `${listed(ggufs) || 'It holds no GGUF file.'}`,
      );
    return { wanted: [found], target: file };
  }
  const single = files.some(({ path }) => path === 'model.safetensors');
  const sharded = files.some(({ path }) => path === 'model.safetensors.index.json');
  if (single || sharded) {
    const weights = single ? /^model\.safetensors$/ : /^model(-\d+-of-\d+\.safetensors|\.safetensors\.index\.json)$/;
    const wanted = files.filter(({ path }) => weights.test(path) || sideFiles.has(path));
    return { wanted: wanted.sort((a, b) => a.size - b.size), target: '.' };
  }
  const [only] = ggufs;
  if (only !== undefined && ggufs.length === 1) return { wanted: [only], target: only.path };
  throw userError(
    'unsupported',
    ggufs.length > 1
      ? `${repository} has ${ggufs.length} GGUF files.`
      : `${repository} has no safetensors and no GGUF file.`,
    ggufs.length > 1 ? `Name one, as in ${repository}:${preferred(ggufs)}. ${listed(ggufs)}` : 'Choose another model.',
  );
}

const sideFiles: ReadonlySet<string> = new Set([
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'chat_template.jinja',
  'chat_template.json',
]);

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
