/** Files that are replaced, cut or taken away while a command uses them. */
import { cpSync, existsSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { Random } from '../../../backend/decoding/sampling/random.ts';
import { judge } from '../judge.ts';
import { makeShippedExits, shippedExits, shippedModel, smallTuning, textFolder, wordsOf } from '../material.ts';
import { damageBytes } from '../mutations/bytes.ts';
import { runProgram } from '../program.ts';
import { failed, pick, type Kind } from '../trial.ts';

type Deed = (file: string, random: Random) => void;

const deeds: Readonly<Record<string, Deed>> = {
  'replaced by rename': (file, random) => {
    writeFileSync(`${file}.new`, damageBytes(readFileSync(file), random));
    renameSync(`${file}.new`, file);
  },
  'overwritten in place': (file, random) => writeFileSync(file, damageBytes(readFileSync(file), random)),
  'cut in place': (file, random) => truncateSync(file, Math.floor(readFileSync(file).length * random())),
  'taken away': (file) => rmSync(file, { recursive: true, force: true }),
};

const files = {
  generate: [
    'model/model.safetensors',
    'model/config.json',
    'model/tokenizer.json',
    'my.exits/exits.safetensors',
    'my.exits/exits.json',
  ],
  tune: [
    'model/model.safetensors',
    'model/tokenizer.json',
    'text/server.ts',
    'out.exits/exits.json',
    'out.exits/metrics.jsonl',
    'out.exits',
    '.early-exit-cache/features',
  ],
} as const;

/** Taken away as a whole. */
const folders = ['out.exits', '.early-exit-cache/features'];

export const replaced: Kind = {
  name: 'replaced',
  tries: 'weights, tokenizer, text, exits and checkpoints that are replaced, cut or deleted while a command uses them',
  promise: 'run to the end or refused with a sentence; no crash of the memory that a file was mapped to',
  attempts: 80,
  inTests: 1,
  lanes: 2,
  async open({ program, folder: material }) {
    const seconds = await makeShippedExits(material, program);
    return {
      async attempt({ random, folder }) {
        for (const [from, to] of [
          [shippedModel, 'model'],
          [shippedExits(material), 'my.exits'],
          [textFolder(material), 'text'],
        ] as const)
          cpSync(from, path.join(folder, to), { recursive: true });
        const command = pick(random, ['generate', 'tune'] as const);
        const name = pick<string>(random, files[command]);
        const what = folders.includes(name) ? 'taken away' : pick(random, Object.keys(deeds));
        const moment = 1000 * random() * (command === 'tune' ? seconds : 2);
        const ended = await runProgram(program, [command, ...words(command, folder)], {
          cwd: folder,
          disturb: () =>
            void wait(moment).then(() => {
              if (existsSync(path.join(folder, name))) deeds[what]!(path.join(folder, name), random);
            }),
        });
        const verdict = judge(ended, [0, 1]);
        return verdict.verdict === 'failed' ? failed(`${command}, ${name} ${what}: ${verdict.why}`) : verdict;
      },
      close: async () => {},
    };
  },
};

function words(command: 'generate' | 'tune', folder: string): string[] {
  const model = path.join(folder, 'model');
  return command === 'generate'
    ? wordsOf({
        model,
        exits: path.join(folder, 'my.exits'),
        prompt: 'function add(',
        maxTokens: 300,
        device: 'cpu',
        threads: 1,
      })
    : wordsOf({ ...smallTuning, model, data: path.join(folder, 'text/*.ts'), out: path.join(folder, 'out.exits') });
}
