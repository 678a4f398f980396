/** Writes a plain model into a folder of its own, whole or not at all: weights, configuration, tokenizer and card. */
import { copyFileSync, existsSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { userError } from '../../protocol/errors.ts';
import { makeFolder, statOf, writeFileAtomically } from '../formats/files.ts';
import { openGguf } from '../formats/gguf.ts';
import { numberEntry, textEntry, writeGguf, type GgufEntry } from '../formats/gguf-writer.ts';
import type { QuantisedType } from '../formats/quantise-blocks.ts';
import { writeSafetensors } from '../formats/safetensors.ts';
import type { Model } from '../model/open.ts';
import type { PlainModel } from './plain-model.ts';
import { plainTensors } from './tensors.ts';

export type PlainFormat = 'hf' | 'gguf';

/** Files beside the weights that belong to a model as it is. */
const companions = [
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'tokenizer.model',
  'vocab.json',
  'merges.txt',
  'added_tokens.json',
  'generation_config.json',
  'chat_template.jinja',
  'chat_template.json',
  'LICENSE',
];

export interface Written {
  readonly directory: string;
  readonly files: readonly string[];
}

/** What a plain model is written of and as. */
export interface Writing {
  readonly model: Model;
  readonly plain: PlainModel;
  readonly format: PlainFormat;
  readonly quantised: QuantisedType | null;
  readonly name: string;
  readonly card: string;
}

/** @throws UserError where the folder is taken, the disk is full, or the format is not the model's own. */
export function writePlain(directory: string, writing: Writing): Written {
  const { model, format } = writing;
  checkFormat(model, format, writing.quantised);
  if (statOf(directory) !== null)
    throw userError('bad-argument', `${directory} is there already.`, 'Give another folder with --out, or remove it.');
  const target = resolve(directory);
  const temporary = join(dirname(target), `.${basename(target)}.${process.pid}.tmp`);
  try {
    makeFolder(temporary);
    const files = format === 'gguf' ? writeGgufModel(temporary, writing) : writeDirectory(temporary, writing);
    writeFileAtomically(join(temporary, 'README.md'), [writing.card]);
    renameSync(temporary, target);
    return { directory, files: [...files, 'README.md'] };
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    throw error;
  }
}

function checkFormat({ stored, name }: Model, format: PlainFormat, quantised: QuantisedType | null): void {
  if (format === 'hf' && quantised !== null)
    throw userError(
      'bad-argument',
      'Blocks are written in GGUF alone.',
      'Leave out --quantize, or give --format gguf.',
    );
  const own: PlainFormat = stored.kind === 'gguf' ? 'gguf' : 'hf';
  if (own === format) return;
  throw userError(
    'unsupported',
    `${name} is ${own === 'gguf' ? 'a GGUF file' : 'a Hugging Face directory'}, and a plain model is written in the format of its base.`,
    own === 'gguf'
      ? 'Give --format gguf, or the base as a Hugging Face directory.'
      : "Give --format hf, and convert the result with llama.cpp's convert_hf_to_gguf.py.",
  );
}

function writeDirectory(folder: string, { model, plain }: Writing): string[] {
  const config = JSON.parse(readFileSync(join(model.path, 'config.json'), 'utf8')) as Record<string, unknown>;
  const changed = { ...config, ...shallower(config, plain), torch_dtype: 'float32' };
  writeFileAtomically(join(folder, 'config.json'), [`${JSON.stringify(changed, null, 2)}\n`]);
  writeSafetensors(join(folder, 'model.safetensors'), plainTensors(model, plain, null), { format: 'pt' });
  const copied = companions.filter((file) => existsSync(join(model.path, file)));
  for (const file of copied) copyFileSync(join(model.path, file), join(folder, file));
  return ['config.json', 'model.safetensors', ...copied];
}

/** Names of config.json for the number of layers. */
const depthNames = ['num_hidden_layers', 'n_layer', 'num_layers', 'n_layers'];

function shallower(config: Record<string, unknown>, { layers, parameters }: PlainModel): Record<string, unknown> {
  const depth = depthNames.find((name) => typeof config[name] === 'number') ?? depthNames[0]!;
  const perLayer = Object.entries(config).filter(
    ([, value]) => Array.isArray(value) && value.length === config[depth] && value.length > layers,
  );
  return {
    [depth]: layers,
    ...Object.fromEntries(perLayer.map(([name, value]) => [name, (value as unknown[]).slice(0, layers)])),
    ...(parameters.has('lm_head.weight') && { tie_word_embeddings: false }),
    ...(typeof config['max_window_layers'] === 'number' && {
      max_window_layers: Math.min(config['max_window_layers'], layers),
    }),
  };
}

/** Families whose files have no head of their own for llama.cpp. */
const alwaysTied = ['gemma', 'gemma2', 'gemma3'];

function writeGgufModel(folder: string, { model, plain, quantised, name }: Writing): string[] {
  const file = openGguf(model.path);
  try {
    const { metadata } = file;
    const family = metadata.get('general.architecture') as string;
    if (alwaysTied.includes(family) && plain.parameters.has('lm_head.weight'))
      throw userError(
        'unsupported',
        `llama.cpp reads no head of its own in a model of family ${family}, and this exit has one.`,
        'Export an exit of architecture norm, mlp or layer with the shared head.',
      );
    const changed = new Map<string, GgufEntry>([
      ['general.name', textEntry('general.name', name)],
      [`${family}.block_count`, numberEntry(`${family}.block_count`, plain.layers)],
      ['general.alignment', numberEntry('general.alignment', 32)],
    ]);
    const dropped = (key: string): boolean => key.startsWith('split.');
    const kept = [...metadata.keys()].filter((key) => !dropped(key));
    const entries = kept.map((key) => changed.get(key) ?? { key, encoded: metadata.encoded(key) });
    for (const [key, entry] of changed) if (!kept.includes(key)) entries.push(entry);
    writeGguf(join(folder, `${name}.gguf`), entries, plainTensors(model, plain, quantised));
    return [`${name}.gguf`];
  } finally {
    file.close();
  }
}
