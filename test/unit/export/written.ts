/** Exits of small models, written as plain models and read again. */
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { plainModel } from '../../../backend/export/plain-model.ts';
import type { PlainFormat } from '../../../backend/export/families.ts';
import { writePlain } from '../../../backend/export/write.ts';
import { exitId, type ExitSpec } from '../../../backend/exits/spec.ts';
import { bytesOf, openSafetensors, writeSafetensors, type TensorData } from '../../../backend/formats/safetensors.ts';
import { openModel, type Model } from '../../../backend/model/open.ts';
import type { ParameterValues } from '../../../backend/model/overlay.ts';
import { openStagedModel } from '../../../backend/runtime/open.ts';
import { trunkLength } from '../../../backend/runtime/staged-model.ts';
import { seededRandom } from '../../../backend/decoding/sampling/random.ts';
import { finalLogits } from '../../support/decoding.ts';
import { copiedExits } from '../../support/models.ts';
import { temporaryFolder } from '../formats/fixtures.ts';

export const golden = 'test/fixtures/golden';
export const ids = [7, 9, 23, 4, 50, 61, 8, 8, 20, 31];

const shared = { kind: 'shared' } as const;
const own = { kind: 'own' } as const;
export const exits: readonly ExitSpec[] = [
  { layer: 2, architecture: 'norm', head: shared },
  { layer: 2, architecture: 'norm', head: own },
  { layer: 2, architecture: 'lens', head: shared },
  { layer: 1, architecture: 'lens', head: own },
  { layer: 2, architecture: 'mlp', head: shared },
  { layer: 2, architecture: 'layer', head: shared },
  { layer: 1, architecture: 'layer', head: own },
];
export const named = exits.map((exit) => [`${exitId(exit)}, ${exit.head.kind} head`, exit] as const);

/** Copies, moved so far that nothing of the base can stand in for them. */
export function movedExits(model: Model, exit: ExitSpec, far = 0.1): ReadonlyMap<string, ParameterValues> {
  const random = seededRandom(4);
  const { parameters } = copiedExits(model, [exit]);
  return new Map(
    [...parameters].map(([name, { shape, data }]) => {
      const size = data.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1;
      return [name, { shape, data: data.map((value) => value + far * size * (random() - 0.5)) }];
    }),
  );
}

/** The exit's own logits at every token. */
export async function exitLogits(model: Model, exit: ExitSpec, parameters: ReadonlyMap<string, ParameterValues>) {
  const staged = await openStagedModel(model, { specs: [exit], parameters });
  const slots = staged.openSlots(1);
  const k = staged.exits.findIndex(({ id }) => id === exitId(exit));
  slots.enter(0, ids);
  for (let stage = 0; stage < trunkLength(staged); stage++) await slots.run(stage, [ids.length]);
  const { reads } = staged.exits[k]!;
  if (reads >= trunkLength(staged)) await slots.run(reads, [ids.length]);
  const [said] = await slots.read(k, [0], [ids.length], { logits: true });
  slots.dispose();
  await staged.dispose();
  return said!.logits!;
}

/** Writes an exit of a model as a plain model, and reads what that says. */
export async function written(path: string, exit: ExitSpec, format: PlainFormat, quantised: 'Q8_0' | null = null) {
  const model = openModel(path);
  const parameters = movedExits(model, exit);
  const directory = join(temporaryFolder(), 'plain');
  const plain = await plainModel(model, exit, parameters, format);
  const { files } = writePlain(directory, {
    model,
    plain,
    format,
    quantised,
    name: 'plain',
    card: '# plain\n',
    base: 'abc',
  });
  const file = format === 'gguf' ? join(directory, 'plain.gguf') : directory;
  const expected = await exitLogits(model, exit, parameters);
  model.close();
  const read = openModel(file);
  const staged = await openStagedModel(read);
  const logits = await finalLogits(staged, ids);
  await staged.dispose();
  read.close();
  return { file, directory, files, expected, logits, layers: read.spec.layers.length };
}

/** A small model with a tokenizer of bytes, which the golden ones have not. */
export function withTokenizer(path: string): string {
  const folder = join(temporaryFolder(), 'model');
  cpSync(path, folder, { recursive: true });
  const { vocab_size: vocabulary } = JSON.parse(readFileSync(join(path, 'config.json'), 'utf8')) as {
    vocab_size: number;
  };
  const bytes = byteTexts().slice(0, vocabulary - 1);
  const pre_tokenizer = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  const tokenizer = {
    version: '1.0',
    added_tokens: [{ id: bytes.length, content: '<|end|>', special: true }],
    normalizer: null,
    pre_tokenizer,
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { type: 'BPE', vocab: Object.fromEntries(bytes.map((text, id) => [text, id])), merges: [] },
  };
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(tokenizer));
  writeFileSync(
    join(folder, 'tokenizer_config.json'),
    JSON.stringify({ eos_token: '<|end|>', chat_template: '{{ messages[0].content }}' }),
  );
  return folder;
}

/** A small model as one that sees, too, has its language part: within `text_config`, beside the layers of its eyes. */
export function withEyes(path: string, modelType: string): string {
  const folder = join(temporaryFolder(), 'seeing');
  mkdirSync(folder);
  const text = JSON.parse(readFileSync(join(path, 'config.json'), 'utf8')) as object;
  const config = { architectures: ['Seeing'], model_type: modelType, eos_token_id: [1, 106], text_config: text };
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...config, vision_config: {} }));
  const source = openSafetensors(path);
  const tensors = [...source.tensors.values()].map((tensor): TensorData => {
    const name = tensor.name.replace(/^(model|lm_head)\./, 'language_model.$1.');
    return { name, type: tensor.type, shape: tensor.shape, bytes: source.read(tensor) };
  });
  const eye = bytesOf(Float32Array.of(1, 2, 3, 4));
  const eyes = ['vision_tower.encoder.layers.0.fc.weight', 'vision_tower.encoder.layers.9.fc.weight'].map(
    (name): TensorData => ({ name, type: 'F32', shape: [2, 2], bytes: eye }),
  );
  writeSafetensors(join(folder, 'model.safetensors'), [...tensors, ...eyes], { format: 'pt' });
  source.close();
  return folder;
}

/** How byte-level tokenizers write bytes: those that can be seen as they are, the others from U+0100 on. */
function byteTexts(): string[] {
  const isSeen = (byte: number): boolean =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
  let hidden = 0;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(isSeen(byte) ? byte : 256 + hidden++));
}
