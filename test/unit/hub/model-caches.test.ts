/** Made-up caches of each program: what is whole, what is half-written, and what only looks like a model. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { localModel } from '../../../backend/hub/hub.ts';
import { cachedModels, typeIn, type CachedModel, type Places } from '../../../backend/hub/model-caches.ts';

let home: string;
beforeEach(() => void (home = mkdtempSync(join(tmpdir(), 'early-exit-caches-'))));
afterEach(() => rmSync(home, { recursive: true }));

const write = (name: string, content: string | object): string => {
  const file = join(home, name);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content));
  return file;
};
const places = (environment: Places['environment'] = {}, platform: NodeJS.Platform = 'linux'): Places => ({
  home,
  platform,
  environment,
  own: join(home, 'own'),
});
const modelsOf = async (cache: CachedModel['cache'], given = places()): Promise<Omit<CachedModel, 'cache'>[]> =>
  (await cachedModels(given))
    .filter((model) => model.cache === cache)
    .map(({ name, reference, bytes, type, problem }) => ({ name, reference, bytes, type, problem }));

const commit = 'a'.repeat(40);
const gguf = 'GGUF and some weights';
const digest = (letter: string): string => letter.repeat(64);

describe('the Hugging Face cache', () => {
  const snapshot = `.cache/huggingface/hub/models--owner--name/snapshots/${commit}`;
  const blobs = '.cache/huggingface/hub/models--owner--name/blobs';
  const link = (name: string, blob: string): void => {
    mkdirSync(join(home, snapshot), { recursive: true });
    symlinkSync(join(home, blobs, blob), join(home, snapshot, name));
  };
  beforeEach(() => write('.cache/huggingface/hub/models--owner--name/refs/main', commit));

  it('has models by their ids, with size and type', async () => {
    write(`${snapshot}/config.json`, { torch_dtype: 'bfloat16' });
    write(`${snapshot}/tokenizer.json`, '{}');
    write(`${blobs}/abc`, 'x'.repeat(1000));
    link('model.safetensors', 'abc');
    write(`${snapshot}/tiny-Q4_K_M.gguf`, gguf);
    expect(await modelsOf('huggingface')).toEqual([
      { name: 'owner/name', reference: 'owner/name', bytes: 1000, type: 'bfloat16', problem: null },
      {
        name: 'owner/name:tiny-Q4_K_M.gguf',
        reference: 'owner/name:tiny-Q4_K_M.gguf',
        bytes: gguf.length,
        type: 'Q4_K_M',
        problem: null,
      },
    ]);
  });

  it('says which file is half-written', async () => {
    write(`${snapshot}/config.json`, {});
    write(`${snapshot}/tokenizer.json`, '{}');
    write(`${blobs}/abc.incomplete`, 'x');
    link('model.safetensors', 'abc');
    const [model] = await modelsOf('huggingface');
    expect(model!.problem).toBe('model.safetensors of owner/name is not whole: its download has not ended.');
    rmSync(join(home, blobs, 'abc.incomplete'));
    const [later] = await modelsOf('huggingface');
    expect(later!.problem).toBe('model.safetensors of owner/name is not whole: its download was interrupted.');
  });

  it('has a model in parts as one, whole only with all of them', async () => {
    write(`${snapshot}/config.json`, {});
    write(`${snapshot}/tokenizer.json`, '{}');
    const shards = { a: 'model-00001-of-00002.safetensors', b: 'model-00002-of-00002.safetensors' };
    write(`${snapshot}/model.safetensors.index.json`, { weight_map: shards });
    write(`${snapshot}/${shards.a}`, 'x'.repeat(1000));
    write(`${snapshot}/m-00001-of-00002.gguf`, gguf);
    const problems = async () => (await modelsOf('huggingface')).map(({ problem }) => problem);
    expect(await problems()).toEqual([
      'owner/name was not downloaded whole: some of its shards are missing.',
      'm-00001-of-00002.gguf of owner/name is not whole: its download was interrupted.',
    ]);
    write(`${snapshot}/${shards.b}`, 'x'.repeat(1000));
    write(`${snapshot}/m-00002-of-00002.gguf`, gguf);
    expect((await modelsOf('huggingface')).map(({ bytes, problem }) => [bytes, problem])).toEqual([
      [2000, null],
      [2 * gguf.length, null],
    ]);
  });

  it.each([
    ['elsewhere', { HF_HUB_CACHE: 'elsewhere', HF_HOME: 'x', XDG_CACHE_HOME: 'x' }],
    ['elsewhere/hub', { HF_HUB_CACHE: '', HF_HOME: 'elsewhere', XDG_CACHE_HOME: 'x' }],
    ['elsewhere/huggingface/hub', { HF_HOME: '', XDG_CACHE_HOME: 'elsewhere' }],
    ['.cache/huggingface/hub', { XDG_CACHE_HOME: '' }],
  ])('is looked for in %s if its variables say so', async (folder, variables) => {
    write(`${folder}/models--o--n/refs/main`, commit);
    write(`${folder}/models--o--n/snapshots/${commit}/m.gguf`, gguf);
    const environment = Object.fromEntries(
      Object.entries(variables).map(([name, value]) => [name, value && join(home, value)]),
    );
    const found = await modelsOf('huggingface', places(environment));
    expect(found.map(({ name }) => name)).toEqual(['o/n:m.gguf']);
    expect(localModel('o/n:m.gguf', { cacheDirectory: home, environment })).toBe(
      environment['XDG_CACHE_HOME'] === '' ? null : join(home, folder, `models--o--n/snapshots/${commit}/m.gguf`),
    );
  });

  it('leads nowhere outside of itself', async () => {
    write('.cache/huggingface/hub/models--owner--name/refs/main', '../../..');
    expect(await modelsOf('huggingface')).toEqual([]);
  });
});

describe('Ollama', () => {
  const manifest = (name: string, size: number, letter = 'b'): void => {
    write(`.ollama/models/manifests/registry.ollama.ai/${name}`, {
      config: { digest: `sha256:${digest('c')}` },
      layers: [
        { mediaType: 'application/vnd.ollama.image.license', digest: `sha256:${digest('d')}`, size: 1 },
        { mediaType: 'application/vnd.ollama.image.model', digest: `sha256:${digest(letter)}`, size },
      ],
    });
  };

  it('has models by their names and tags, which are blobs', async () => {
    manifest('library/qwen2.5-coder/0.5b', gguf.length);
    manifest('someone/other/latest', gguf.length);
    const file = write(`.ollama/models/blobs/sha256-${digest('b')}`, gguf);
    write(`.ollama/models/blobs/sha256-${digest('c')}`, { file_type: 'Q4_K_M' });
    const whole = { reference: file, bytes: gguf.length, type: 'Q4_K_M', problem: null };
    expect(await modelsOf('ollama')).toEqual([
      { name: 'qwen2.5-coder:0.5b', ...whole },
      { name: 'someone/other:latest', ...whole },
    ]);
  });

  it('says which model is half-written, and how it becomes whole', async () => {
    manifest('library/a/latest', 500);
    write(`.ollama/models/blobs/sha256-${digest('b')}`, gguf);
    manifest('library/b/latest', 500, 'e');
    write(`.ollama/models/blobs/sha256-${digest('e')}-partial`, gguf);
    expect((await modelsOf('ollama')).map(({ problem }) => problem)).toEqual([
      'a:latest of Ollama is not whole: pull it again with ollama pull a:latest.',
      'b:latest of Ollama is not whole: pull it again with ollama pull b:latest.',
    ]);
  });

  it('has no model where a manifest is damaged or names a file elsewhere', async () => {
    write('.ollama/models/manifests/registry.ollama.ai/library/a/latest', '{');
    manifest('library/b/latest', 5, '../../x');
    expect(await modelsOf('ollama')).toEqual([]);
  });
});

describe('LM Studio', () => {
  it('has GGUF files by publisher and repository, and those that are still coming', async () => {
    const file = write('.lmstudio/models/owner/repo/tiny-q8_0.gguf', gguf);
    write('.lmstudio/models/owner/repo/large-F16.gguf.part', 'x');
    write('.lmstudio/models/owner/repo/readme.md', 'x');
    const [large, tiny] = await modelsOf('lm-studio');
    expect(tiny).toEqual({
      name: 'owner/repo/tiny-q8_0.gguf',
      reference: file,
      bytes: gguf.length,
      type: 'Q8_0',
      problem: null,
    });
    expect(large!.problem).toBe('owner/repo/large-F16.gguf is not whole: its download has not ended.');
  });
});

describe("llama.cpp's cache", () => {
  it.each([
    ['linux', '.cache/llama.cpp'],
    ['darwin', 'Library/Caches/llama.cpp'],
    ['win32', 'AppData/Local/llama.cpp'],
  ] as const)('on %s lies in %s', async (platform, folder) => {
    const file = write(`${folder}/owner_repo_tiny-iq4_nl.gguf`, gguf);
    write(`${folder}/owner_repo_tiny-iq4_nl.gguf.json`, {});
    write(`${folder}/owner_repo_big-00002-of-00003.gguf`, gguf);
    write(`${folder}/owner_repo_big-00001-of-00003.gguf.downloadInProgress`, 'x');
    const [big, tiny, ...rest] = await modelsOf('llama.cpp', places({}, platform));
    expect(rest).toEqual([]);
    expect(tiny).toMatchObject({ reference: file, type: 'IQ4_NL', problem: null });
    expect(big!.problem).toMatch(/^owner_repo_big-00001-of-00003.gguf is not whole/);
  });

  it('has a model in parts as one, whole only with all of them', async () => {
    write('.cache/llama.cpp/m-00001-of-00002.gguf', gguf);
    const [half] = await modelsOf('llama.cpp');
    expect(half!.problem).toBe('m-00001-of-00002.gguf is not whole: its download has not ended.');
    write('.cache/llama.cpp/m-00002-of-00002.gguf', gguf);
    const [whole, ...rest] = await modelsOf('llama.cpp');
    expect(rest).toEqual([]);
    expect(whole).toMatchObject({ bytes: 2 * gguf.length, problem: null });
  });

  it('is where LLAMA_CACHE says, and no text is a model', async () => {
    write('there/a.gguf', 'no weights');
    const [model] = await modelsOf('llama.cpp', places({ LLAMA_CACHE: join(home, 'there') }));
    expect(model!.problem).toBe('a.gguf is not whole: its download has not ended.');
  });
});

it('our own cache has what was downloaded, by what it was called', async () => {
  write('own/models/owner--name/refs/main%3Atiny.gguf.json', { target: `${commit}/tiny.gguf` });
  write(`own/models/owner--name/${commit}/tiny.gguf`, gguf);
  write('own/models/owner--name/refs/main%3A.json', { target: '../../../etc' });
  expect(await modelsOf('early-exit')).toEqual([
    {
      name: 'owner/name:tiny.gguf',
      reference: 'owner/name:tiny.gguf',
      bytes: gguf.length,
      type: '',
      problem: null,
    },
  ]);
});

it('our own cache has a model in parts as one, also where its repository has no other', async () => {
  write('own/models/owner--name/refs/main%3A.json', { target: `${commit}/m-00001-of-00002.gguf` });
  for (const part of [1, 2]) write(`own/models/owner--name/${commit}/m-0000${part}-of-00002.gguf`, gguf);
  expect(await modelsOf('early-exit')).toMatchObject([{ name: 'owner/name', bytes: 2 * gguf.length }]);
});

/** Entries that are no files, and unexpected answers: the list has all other models, and waits for nothing. */
describe('a bad entry is left out', () => {
  const names = async (): Promise<string[]> => (await cachedModels(places())).map(({ name }) => name);
  beforeEach(() => void write('.cache/llama.cpp/good.gguf', gguf));

  it.skipIf(process.platform === 'win32')('where a pipe is in the place of a file', async () => {
    const pipe = (name: string): void => {
      mkdirSync(dirname(join(home, name)), { recursive: true });
      execFileSync('mkfifo', [join(home, name)]);
    };
    const hub = '.cache/huggingface/hub';
    pipe('.cache/llama.cpp/x.gguf');
    pipe('.lmstudio/models/owner/repo/x.gguf');
    pipe('.ollama/models/manifests/registry.ollama.ai/library/a/latest');
    pipe('own/models/owner--name/refs/main%3A.json');
    pipe(`${hub}/models--o--ref/refs/main`);
    for (const [owner, file] of Object.entries({ a: 'config.json', b: 'x.gguf' })) {
      write(`${hub}/models--${owner}--name/refs/main`, commit);
      pipe(`${hub}/models--${owner}--name/snapshots/${commit}/${file}`);
    }
    write(`${hub}/models--c--name/refs/main`, commit);
    write(`${hub}/models--c--name/snapshots/${commit}/config.json`, {});
    pipe(`${hub}/models--c--name/snapshots/${commit}/model.safetensors.index.json`);
    expect(await names()).toEqual(['good.gguf']);
  });

  it('where a link leads to a folder', async () => {
    mkdirSync(join(home, 'folder'));
    symlinkSync(join(home, 'folder'), join(home, '.cache/llama.cpp/x.gguf'), 'junction');
    mkdirSync(join(home, '.ollama/models/manifests/registry.ollama.ai/library/a'), { recursive: true });
    symlinkSync(
      join(home, 'folder'),
      join(home, '.ollama/models/manifests/registry.ollama.ai/library/a/latest'),
      'junction',
    );
    expect(await names()).toEqual(['good.gguf']);
  });

  it.each<{ odd: unknown }>([
    { odd: null },
    { odd: 5 },
    { odd: ['x'] },
    { odd: { toString: 1 } },
    { odd: { toString: null, valueOf: null } },
    { odd: 'sha256:' },
    { odd: `md5:${digest('b')}` },
  ])('where a digest is $odd', async ({ odd }) => {
    const layer = { mediaType: 'application/vnd.ollama.image.model', digest: odd, size: gguf.length };
    write('.ollama/models/manifests/registry.ollama.ai/library/a/latest', { config: layer, layers: [null, layer] });
    const whole = { ...layer, digest: `sha256:${digest('b')}` };
    write('.ollama/models/manifests/registry.ollama.ai/library/b/latest', { config: layer, layers: [whole] });
    write(`.ollama/models/blobs/sha256-${digest('b')}`, gguf);
    expect(await names()).toEqual(['b:latest', 'good.gguf']);
  });
});

it('a machine without any of them has no models', async () => expect(await cachedModels(places())).toEqual([]));

it('the type of weights follows from the name', () =>
  expect(
    ['a-q4_k_m.gguf', 'B.Q8_0.gguf', 'c-bf16.gguf', 'IQ2_XS-d.gguf', 'q-learning.gguf', 'a-f16-b.gguf'].map(typeIn),
  ).toEqual(['Q4_K_M', 'Q8_0', 'BF16', 'IQ2_XS', '', 'F16']));
