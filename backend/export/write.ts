/** Writes a plain model into a folder of its own, whole or not at all: weights, configuration, tokenizer and card. */
import { copyFileSync, existsSync, rmSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { userError } from '../../protocol/errors.ts';
import { fileError, makeFolder, readText, renameFile, statOf, writeFileAtomically } from '../system/files.ts';
import { removeLeftovers, temporaryName } from '../system/leftovers.ts';
import { openGguf } from '../formats/gguf.ts';
import { entryOfLayers, numberEntry, textEntry, writeGguf, type GgufEntry } from '../formats/gguf-writer.ts';
import type { QuantisedType } from '../formats/quantise-blocks.ts';
import { writeSafetensors } from '../formats/safetensors.ts';
import { huggingFaceSource } from '../model/families/family.ts';
import type { Model } from '../model/open.ts';
import { cardFile } from '../formats/our-folders.ts';
import { convertedTensors } from './converted.ts';
import { directoryForm } from './directory-form.ts';
import { formatOf, textConfig, type PlainFormat } from './families.ts';
import { ggufForm } from './gguf-form.ts';
import { directoryMark, ggufMark } from './mark.ts';
import type { PlainModel } from './plain-model.ts';
import { plainTensors } from './tensors.ts';

/** Files beside the weights that belong to a model as it is. */
export const companions = [
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

/** A configuration with the type of its weights, under the key that it has for it: Transformers 4 and 5 have two names. */
export const withType = (config: Readonly<Record<string, unknown>>, type: 'float32' | 'bfloat16') => ({
  ...config,
  [config['dtype'] === undefined ? 'torch_dtype' : 'dtype']: type,
});

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
  /** SHA-256 of the base's weights. */
  readonly base: string;
}

/** @throws UserError if the folder is taken, the disk is full, or the format cannot express the base. */
export function writePlain(directory: string, writing: Writing): Written {
  const { format, quantised } = writing;
  if (format === 'hf' && quantised !== null)
    throw userError(
      'bad-argument',
      'Blocks are written in GGUF alone.',
      'Leave out --quantize, or give --format gguf.',
    );
  if (statOf(directory) !== null)
    throw userError('bad-argument', `${directory} is there already.`, 'Give another folder with --out, or remove it.');
  const target = resolve(directory);
  const temporary = temporaryName(join(dirname(target), `.${basename(target)}`));
  try {
    makeFolder(temporary, 'umask');
    removeLeftovers(dirname(target));
    const files = format === 'gguf' ? writeGgufModel(temporary, writing) : writeDirectory(temporary, writing);
    writeFileAtomically(join(temporary, cardFile), [writing.card], 'umask');
    renameFile(temporary, target);
    return { directory, files: [...files, cardFile] };
  } catch (error) {
    // If a part of the path is a file, even removing nothing fails.
    if (existsSync(temporary)) rmSync(temporary, { recursive: true, force: true });
    throw fileError(error, 'write', directory);
  }
}

function writeDirectory(folder: string, writing: Writing): string[] {
  const { model, plain, base } = writing;
  if (formatOf(model) === 'gguf') return writeDirectoryOfGguf(folder, writing);
  const config = JSON.parse(readText(join(model.path, 'config.json'))) as Record<string, unknown>;
  const text = textConfig(model.spec, config);
  const own = { ...(text ?? config) };
  const changed = { ...withType(own, 'float32'), ...shallower(own, plain), ...directoryMark(plain.exit, base) };
  writeJson(join(folder, 'config.json'), changed);
  // The language part alone has another name, and nothing for vision.
  const tensors = text ? convertedTensors(model, plain, huggingFaceSource, null) : plainTensors(model, plain, null);
  writeSafetensors(join(folder, 'model.safetensors'), tensors, { format: 'pt' }, 'umask');
  const copied = companions.filter((file) => existsSync(join(model.path, file)));
  for (const file of copied) copyFileSync(join(model.path, file), join(folder, file));
  return ['config.json', 'model.safetensors', ...copied];
}

function writeDirectoryOfGguf(folder: string, { model, plain, base }: Writing): string[] {
  const gguf = openGguf(model.path);
  try {
    const { files, tensors } = directoryForm(model, gguf.metadata, plain);
    const marked = { ...files, 'config.json': { ...files['config.json'], ...directoryMark(plain.exit, base) } };
    for (const [file, value] of Object.entries(marked)) writeJson(join(folder, file), value);
    writeSafetensors(join(folder, 'model.safetensors'), tensors, { format: 'pt' }, 'umask');
    return [...Object.keys(marked), 'model.safetensors'];
  } finally {
    gguf.close();
  }
}

const writeJson = (file: string, value: object): void =>
  writeFileAtomically(file, [`${JSON.stringify(value, null, 2)}\n`], 'umask');

/** Names of config.json for the number of layers. */
const depthNames = ['num_hidden_layers', 'n_layer', 'num_layers', 'n_layers'];

function shallower(config: Record<string, unknown>, { layers, parameters }: PlainModel): Record<string, unknown> {
  const depth = depthNames.find((name) => typeof config[name] === 'number') ?? depthNames[0]!;
  const perLayer = Object.entries(config).filter(([, value]) => Array.isArray(value) && value.length === config[depth]);
  const { max_window_layers: windowed, mlp_only_layers: dense } = config;
  return {
    [depth]: layers,
    ...Object.fromEntries(perLayer.map(([name, value]) => [name, ofLength(value as unknown[], layers)])),
    ...(parameters.has('lm_head.weight') && { tie_word_embeddings: false }),
    ...(typeof windowed === 'number' && { max_window_layers: Math.min(windowed, layers) }),
    // Places of layers, of a mixture of experts.
    ...(Array.isArray(dense) && { mlp_only_layers: dense.filter((layer) => Number(layer) < layers) }),
  };
}

/** A layer behind the last is like the last. */
const ofLength = (perLayer: readonly unknown[], layers: number): unknown[] =>
  Array.from({ length: layers }, (_, i) => perLayer[Math.min(i, perLayer.length - 1)]);

/** Architectures whose files have no head of their own for llama.cpp. */
const alwaysTied = ['gemma', 'gemma2', 'gemma3', 'command-r'];

/** @throws UserError if llama.cpp assumes something about an architecture that is not true of the plain model. */
function checkArchitecture(architecture: string, { spec }: Model, plain: PlainModel): void {
  if (alwaysTied.includes(architecture) && plain.parameters.has('lm_head.weight'))
    throw userError(
      'unsupported',
      `llama.cpp reads no head of its own in a model of family ${architecture}, and this exit has one.`,
      'Export an exit of architecture norm, mlp or layer with the shared head.',
    );
  if (architecture === 'command-r' && spec.qkNorm !== 'none' && plain.layers < 64)
    throw userError(
      'unsupported',
      'llama.cpp reads norms of queries and keys only in a command-r of 64 layers or more, and this exit has fewer.',
      "Export from the model's Hugging Face directory.",
    );
  const scalesByDepth =
    ['gemma2', 'gemma3'].includes(architecture) && spec.attentionScale !== spec.headDimensions ** -0.5;
  if (scalesByDepth && plain.layers < spec.layers.length)
    throw userError(
      'unsupported',
      `llama.cpp knows by the number of its layers alone how a ${architecture} scales its scores, and this exit has fewer than the model.`,
      "Export from the model's Hugging Face directory.",
    );
}

function writeGgufModel(folder: string, writing: Writing): string[] {
  const { model, plain, quantised, name, base } = writing;
  const file = `${name}.gguf`;
  const write = (entries: readonly GgufEntry[], tensors: ReturnType<typeof plainTensors>, family: string): void => {
    const changed = [
      textEntry('general.name', name),
      numberEntry(`${family}.block_count`, plain.layers),
      numberEntry('general.alignment', 32),
      ...ggufMark(plain.exit, base),
    ];
    const keys = new Set(changed.map(({ key }) => key));
    writeGguf(join(folder, file), [...entries.filter(({ key }) => !keys.has(key)), ...changed], tensors);
  };
  if (formatOf(model) === 'hf') {
    const { entries, tensors, architecture } = ggufForm(model, plain, quantised);
    write(entries, tensors, architecture);
    return [file];
  }
  const gguf = openGguf(model.path);
  try {
    const { metadata } = gguf;
    const family = metadata.get('general.architecture') as string;
    checkArchitecture(family, model, plain);
    const kept = [...metadata.keys()].filter((key) => !key.startsWith('split.'));
    const layers = model.spec.layers.length;
    const entries = kept.map((key) => {
      const entry = { key, encoded: metadata.encoded(key) };
      return key.startsWith(`${family}.`) ? entryOfLayers(entry, layers, plain.layers) : entry;
    });
    write(entries, plainTensors(model, plain, quantised), family);
    return [file];
  } finally {
    gguf.close();
  }
}
