/** Caches of other programs with entries that are no models, before one language server: its list has all others, and waits for nothing. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Random } from '../../../backend/decoding/sampling/random.ts';
import * as protocol from '../../../protocol/server.ts';
import { openClient } from '../language-client.ts';
import { damageBytes } from '../mutations/bytes.ts';
import { damageValue } from '../mutations/json.ts';
import { below, failed, held, pick, skipped, type Kind } from '../trial.ts';

const gguf = 'GGUF and some weights';
const commit = 'a'.repeat(40);
const hub = '.cache/huggingface/hub';
const ollama = '.ollama/models/manifests/registry.ollama.ai/library';
const most = 6;

/** A whole model of each cache, by its name, with the files that it takes. */
const sound: Readonly<Record<string, readonly (readonly [file: string, content: string])[]>> = {
  'good.gguf': [['.cache/llama.cpp/good.gguf', gguf]],
  'o/r/good.gguf': [['.lmstudio/models/o/r/good.gguf', gguf]],
  'o/good:good.gguf': [
    [`${hub}/models--o--good/refs/main`, commit],
    [`${hub}/models--o--good/snapshots/${commit}/good.gguf`, gguf],
  ],
  'good:latest': [
    [`${ollama}/good/latest`, manifest('b')],
    [`.ollama/models/blobs/sha256-${'b'.repeat(64)}`, gguf],
  ],
};

/** Files that a list reads, beside those of the sound models, and what they should hold; `N` is a number. */
const read: readonly (readonly [file: string, content: string])[] = [
  ['.cache/llama.cpp/N.gguf', gguf],
  ['.cache/llama.cpp/N-00001-of-00002.gguf', gguf],
  ['.lmstudio/models/o/r/N.gguf.part', gguf],
  [`${ollama}/N/latest`, manifest('c')],
  [`.ollama/models/blobs/sha256-${'c'.repeat(64)}`, gguf],
  [`${hub}/models--o--N/refs/main`, commit],
  [`${hub}/models--o--N/snapshots/${commit}/x.gguf`, gguf],
  [`${hub}/models--o--N/snapshots/${commit}/config.json`, JSON.stringify({ torch_dtype: 'bfloat16' })],
  [`${hub}/models--o--N/snapshots/${commit}/model.safetensors`, 'weights'],
  [
    `${hub}/models--o--N/snapshots/${commit}/model.safetensors.index.json`,
    JSON.stringify({ weight_map: { a: 'model-00001-of-00001.safetensors' } }),
  ],
  ['.early-exit-cache/models/o--N/refs/main%3A.json', JSON.stringify({ target: `${commit}/m.gguf` })],
  [`.early-exit-cache/models/o--N/${commit}/m.gguf`, gguf],
];

function manifest(letter: string): string {
  const digest = `sha256:${letter.repeat(64)}`;
  const layer = { mediaType: 'application/vnd.ollama.image.model', digest, size: gguf.length };
  return JSON.stringify({ config: { digest }, layers: [layer] });
}

/** Lays something at a path that is not what should be there. */
const lay: Readonly<Record<string, (place: string, content: string, random: Random) => void>> = {
  pipe: (place) => void execFileSync('mkfifo', [place]),
  folder: (place) => void mkdirSync(place),
  'link to a folder': (place) => symlinkSync(path.dirname(place), place),
  'link to itself': (place) => symlinkSync(place, place),
  'link to nowhere': (place) => symlinkSync(`${place}.none`, place),
  'link to a device': (place) => symlinkSync('/dev/zero', place),
  'other bytes': (place, content, random) => writeFileSync(place, damageBytes(Buffer.from(content), random)),
  'other values': (place, content, random) => writeFileSync(place, damaged(content, random)),
};

function damaged(content: string, random: Random): string {
  if (!content.startsWith('{')) return '';
  return JSON.stringify(damageValue(JSON.parse(content), random)) ?? '';
}

export const caches: Kind = {
  name: 'caches',
  tries: `up to ${most} pipes, links, folders, devices and damaged files in the caches of other programs, before one language server`,
  promise: 'its list of models comes, and has every whole one',
  attempts: 150,
  inTests: 6,
  lanes: 1,
  async open({ program, folder: material }) {
    const home = path.join(material, `caches-${process.pid}`);
    mkdirSync(home, { recursive: true });
    const client = await openClient(program, home);
    return {
      async attempt({ random }) {
        if (process.platform === 'win32') return skipped('Windows has no pipes among files');
        for (const each of ['.cache', '.lmstudio', '.ollama', '.early-exit-cache'])
          rmSync(path.join(home, each), { recursive: true, force: true });
        for (const [file, content] of Object.values(sound).flat()) writeFileSync(placeOf(home, file), content);
        const laid = Array.from({ length: 1 + below(random, most) }, (_, n) => {
          const [file, content] = pick(random, read);
          const what = pick(random, Object.keys(lay));
          const place = placeOf(home, file.replaceAll('N', String(n)));
          rmSync(place, { recursive: true, force: true });
          lay[what]!(place, content, random);
          return `${what} at ${path.relative(home, place)}`;
        });
        const answer = await client.ask(protocol.listMachineModels.method, {});
        if (!answer.ok) return failed(`with a ${laid.join(', a ')}: ${answer.message}`);
        const { models } = answer.result as { models: { name: string; problem: string | null }[] };
        const names = models.filter(({ problem }) => problem === null).map(({ name }) => name);
        const missing = Object.keys(sound).filter((name) => !names.includes(name));
        return missing.length === 0 ? held : failed(`with a ${laid.join(', a ')}, there is no ${missing.join(', ')}`);
      },
      close: async () => void (await client.close()),
    };
  },
};

function placeOf(home: string, file: string): string {
  const place = path.join(home, file);
  mkdirSync(path.dirname(place), { recursive: true });
  return place;
}
