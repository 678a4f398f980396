/** Places that cannot be written, or that are not what they should be. */
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { judge } from '../judge.ts';
import { modelFolder, shippedTuning, wordsOf } from '../material.ts';
import { mountMemory, noMount } from '../mounts.ts';
import { runProgram } from '../program.ts';
import { alone, failed, held, skipped, type Kind, type Verdict } from '../trial.ts';

interface Place {
  readonly what: string;
  /** Words and environment of a command that uses `sealed`, a folder that cannot be written, or makes its own trouble in `folder`. */
  readonly make: (
    folder: string,
    sealed: string,
    material: string,
  ) => {
    readonly words: readonly string[];
    readonly env?: Readonly<Record<string, string>>;
    readonly cwd?: string;
  };
  readonly codes: readonly number[];
  readonly needsSealed: boolean;
}

const sealed = (what: string, make: Place['make'], codes = [1]): Place => ({ what, make, codes, needsSealed: true });
const odd = (what: string, make: Place['make'], codes = [1]): Place => ({ what, make, codes, needsSealed: false });

const generating = { prompt: 'let', maxTokens: 2, device: 'cpu' };
const foreign = 'not ours';

const places: readonly Place[] = [
  sealed('tune --out in a read-only folder', (_, folder, material) => ({
    words: shippedTuning(material, path.join(folder, 'a.exits')),
  })),
  sealed('tune without --out in a read-only folder', (_, folder, material) => ({
    words: shippedTuning(material, '').filter((word) => word !== '--out='),
    cwd: folder,
  })),
  sealed(
    'tune with a read-only cache',
    (folder, cache, material) => ({
      words: shippedTuning(material, path.join(folder, 'a.exits')),
      env: { EARLY_EXIT_CACHE: path.join(cache, 'cache') },
    }),
    [0, 1],
  ),
  sealed(
    'generate with a read-only cache and home',
    (_, folder, material) => ({
      words: ['generate', ...wordsOf({ ...generating, model: modelFolder(material, 'qwen3') })],
      env: { EARLY_EXIT_CACHE: path.join(folder, 'cache'), HOME: folder },
      cwd: folder,
    }),
    [0],
  ),
  sealed('a model of the hub with a read-only cache', (_, folder) => ({
    words: ['generate', ...wordsOf({ ...generating, model: 'owner/name' })],
    env: { EARLY_EXIT_CACHE: path.join(folder, 'cache'), HF_ENDPOINT: 'http://127.0.0.1:9' },
  })),
  odd('tune --out is a file', (folder, _, material) => {
    writeFileSync(path.join(folder, 'a.exits'), foreign);
    return { words: shippedTuning(material, path.join(folder, 'a.exits')) };
  }),
  odd('tune --out below a file', (folder, _, material) => {
    writeFileSync(path.join(folder, 'a'), foreign);
    return { words: shippedTuning(material, path.join(folder, 'a/b.exits')) };
  }),
  odd('tune --out is a folder of other things', (folder, _, material) => {
    mkdirSync(path.join(folder, 'a.exits'));
    writeFileSync(path.join(folder, 'a.exits/a'), foreign);
    return { words: shippedTuning(material, path.join(folder, 'a.exits')) };
  }),
  odd(
    'tune --out is a link to nowhere',
    (folder, _, material) => {
      symlinkSync(path.join(folder, 'nowhere/at/all'), path.join(folder, 'a.exits'));
      return { words: shippedTuning(material, path.join(folder, 'a.exits')) };
    },
    [0, 1],
  ),
  odd('tune --out is a link to itself', (folder, _, material) => {
    symlinkSync('a.exits', path.join(folder, 'a.exits'));
    return { words: shippedTuning(material, path.join(folder, 'a.exits')) };
  }),
  odd('tune --out is a device', (_, __, material) => ({ words: shippedTuning(material, '/dev/null') })),
  odd('tune --out in /proc', (_, __, material) => ({ words: shippedTuning(material, '/proc/x.exits') })),
  odd('tune --out has a name that is too long', (folder, _, material) => ({
    words: shippedTuning(material, path.join(folder, 'x'.repeat(300))),
  })),
  odd(
    'the cache is a file',
    (folder, _, material) => {
      writeFileSync(path.join(folder, 'cache'), foreign);
      return {
        words: shippedTuning(material, path.join(folder, 'a.exits')),
        env: { EARLY_EXIT_CACHE: path.join(folder, 'cache') },
      };
    },
    [0, 1],
  ),
  odd('a model folder without a tokenizer', (folder, _, material) => {
    const model = path.join(folder, 'model');
    mkdirSync(model);
    for (const name of ['config.json', 'model.safetensors'])
      symlinkSync(path.join(modelFolder(material, 'qwen3'), name), path.join(model, name));
    return { words: ['generate', ...wordsOf({ ...generating, model })] };
  }),
  odd('a model folder whose weights are a folder', (folder, _, material) => {
    const model = path.join(folder, 'model');
    mkdirSync(path.join(model, 'model.safetensors'), { recursive: true });
    for (const name of ['config.json', 'tokenizer.json'])
      symlinkSync(path.join(modelFolder(material, 'qwen3'), name), path.join(model, name));
    return { words: ['generate', ...wordsOf({ ...generating, model })] };
  }),
  odd('a GGUF file that is a link to itself', (folder) => {
    symlinkSync('a.gguf', path.join(folder, 'a.gguf'));
    return { words: ['generate', ...wordsOf({ ...generating, model: path.join(folder, 'a.gguf') })] };
  }),
  odd(
    'a working directory with a folder typescript-5m in it',
    (folder) => {
      mkdirSync(path.join(folder, 'typescript-5m'));
      return { words: ['generate', ...wordsOf(generating)] };
    },
    [0],
  ),
];

export const folders: Kind = {
  name: 'folders',
  tries: 'read-only folders and caches; files, links, devices and foreign folders where a folder of ours is meant',
  promise: 'refused with a sentence, or done without it; what was there before stays as it was',
  attempts: places.length,
  inTests: 2,
  lanes: 2,
  open: ({ program, folder: material }) =>
    Promise.resolve(
      alone(async ({ index, folder }) => {
        const { what, make, codes, needsSealed } = places[index]!;
        const closed = path.join(folder, 'sealed');
        const mount = needsSealed ? mountMemory(closed, 'ro') : null;
        if (needsSealed && !mount) return skipped(noMount);
        try {
          const { words, ...start } = make(folder, closed, material);
          const before = filesOf(folder);
          const verdict = judge(await runProgram(program, words, { cwd: folder, ...start }), codes);
          return verdict.verdict === 'failed' ? failed(`${what}: ${verdict.why}`) : changesOf(before);
        } finally {
          mount?.unmount();
        }
      }),
    ),
};

/** Files that were there before, with what was in them. */
const filesOf = (folder: string): Map<string, string> =>
  new Map(
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => path.join(entry.parentPath, entry.name))
      .map((file) => [file, readFileSync(file, 'latin1')]),
  );

function changesOf(before: ReadonlyMap<string, string>): Verdict {
  const changed = [...before].find(([file, text]) => !existsSync(file) || readFileSync(file, 'latin1') !== text);
  return changed ? failed(`${changed[0]} is not what it was`) : held;
}
