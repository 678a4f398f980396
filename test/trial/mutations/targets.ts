/** What is damaged: a file of a folder, and what the folder is then used for. */
import path from 'node:path';
import type { Random } from '../../../backend/decoding/sampling/random.ts';
import { exitsFolder, families, ggufFolder, modelFolder, textFolder } from '../material.ts';
import type { Task } from '../recipe-pool.ts';
import { pick } from '../trial.ts';
import { damageGguf } from './gguf.ts';
import { damageJson } from './json.ts';
import type { Mutation } from './mutation.ts';
import { damageSafetensors } from './safetensors.ts';
import { damageJsonLines, damageLines, damageTemplate } from './text.ts';

export interface Target {
  readonly name: string;
  /** How often it is damaged, beside the others. */
  readonly weight: number;
  /** The folder that is copied for each attempt. */
  base(material: string, random: Random): string;
  /** What is damaged in it. */
  readonly file: string;
  readonly mutation: Mutation;
  /** What the damaged folder is used for. */
  task(folder: string, material: string): Task;
}

const onCpu = { threads: 1, device: 'cpu' };

const generate =
  (model: string, more: Readonly<Record<string, unknown>> = {}) =>
  (folder: string): Task => ({
    recipe: 'generate',
    options: { model: path.join(folder, model), prompt: ['let x ='], maxTokens: 3, ...onCpu, ...more },
  });

const generateWithExits = (folder: string): Task =>
  generate('model', { exits: path.join(folder, 'model.exits'), candidates: 2 })(folder);

const resume = (folder: string): Task => ({
  recipe: 'tune',
  options: {
    ...onCpu,
    exitDevice: 'cpu',
    model: path.join(folder, 'model'),
    out: path.join(folder, 'model.exits'),
    resume: true,
    steps: 6,
  },
});

const evaluateOn =
  (file: string): Target['task'] =>
  (folder, material) => ({
    recipe: 'evaluate',
    options: {
      ...onCpu,
      model: modelFolder(material, 'llama-untied'),
      data: [path.join(folder, file)],
      documents: 'all',
      sequenceLength: 64,
      evaluationTokens: 64,
    },
  });

const showTrace =
  (file: string): Target['task'] =>
  (folder) => ({ recipe: 'trace', file: path.join(folder, file) });

const someFamily: Target['base'] = (material, random) => modelFolder(material, pick(random, families));
const someGguf: Target['base'] = (material, random) =>
  ggufFolder(material, pick(random, ['q4_0', 'q5_1', 'q8_0', 'f16', 'q4_k']));

const chat = { chat: true };
const [inExits, inState] = ['model.exits/exits', 'model.exits/state/state'];

export const targets: readonly Target[] = [
  {
    name: 'GGUF',
    weight: 6,
    base: someGguf,
    file: 'model.gguf',
    mutation: damageGguf,
    task: generate('model.gguf', chat),
  },
  {
    name: 'safetensors',
    weight: 4,
    base: someFamily,
    file: 'model.safetensors',
    mutation: damageSafetensors,
    task: generate('.'),
  },
  { name: 'config', weight: 6, base: someFamily, file: 'config.json', mutation: damageJson, task: generate('.') },
  { name: 'tokenizer', weight: 4, base: someFamily, file: 'tokenizer.json', mutation: damageJson, task: generate('.') },
  {
    name: 'template',
    weight: 2,
    base: someFamily,
    file: 'chat_template.jinja',
    mutation: damageTemplate,
    task: generate('.', chat),
  },
  {
    name: 'exits.json',
    weight: 4,
    base: exitsFolder,
    file: `${inExits}.json`,
    mutation: damageJson,
    task: generateWithExits,
  },
  {
    name: 'exits.safetensors',
    weight: 3,
    base: exitsFolder,
    file: `${inExits}.safetensors`,
    mutation: damageSafetensors,
    task: generateWithExits,
  },
  { name: 'state', weight: 0.5, base: exitsFolder, file: `${inState}.json`, mutation: damageJson, task: resume },
  {
    name: 'trace',
    weight: 5,
    base: textFolder,
    file: 'sample.exittrace',
    mutation: damageLines,
    task: showTrace('sample.exittrace'),
  },
  {
    name: 'jsonl',
    weight: 4,
    base: textFolder,
    file: 'mixed.jsonl',
    mutation: damageJsonLines,
    task: evaluateOn('mixed.jsonl'),
  },
];
