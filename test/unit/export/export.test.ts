/** An exit written as a plain model says what the exit says: in our own reader, and in llama.cpp. */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, test } from 'vitest';
import { textConfig } from '../../../backend/export/families.ts';
import { plainModel } from '../../../backend/export/plain-model.ts';
import { isMatrix } from '../../../backend/export/tensors.ts';
import { takeBack } from '../../../backend/export/taken-back.ts';
import { writePlain } from '../../../backend/export/write.ts';
import { exitPath, type ExitSpec } from '../../../backend/exits/spec.ts';
import { openLibrary, types } from '../../../backend/ggml/library.ts';
import { libraryFolder } from '../../../backend/ggml/packages.ts';
import { dequantise } from '../../../backend/formats/dequantise.ts';
import { quantiseBlocks } from '../../../backend/formats/quantise-blocks.ts';
import { openGguf } from '../../../backend/formats/gguf.ts';
import { wholesEntry, writeGguf } from '../../../backend/formats/gguf-writer.ts';
import { openSafetensors, writeSafetensors, type TensorData } from '../../../backend/formats/safetensors.ts';
import { openModel } from '../../../backend/model/open.ts';
import type { ModelSpec } from '../../../backend/model/spec.ts';
import type { ParameterValues } from '../../../backend/model/overlay.ts';
import { openStagedModel } from '../../../backend/runtime/open.ts';
import { seededRandom } from '../../../backend/decoding/sampling/random.ts';
import { partedLogits } from '../../support/decoding.ts';
import { ggufTwin } from '../../support/gguf-twins.ts';
import { maxDifference } from '../../support/golden.ts';
import { exits, golden, movedExits, named, withEyes, withTokenizer, written } from './written.ts';
import { hasLlama, openLlama } from '../../support/llama.ts';
import { caught, file, temporaryFolder } from '../formats/fixtures.ts';

const shared = { kind: 'shared' } as const;
const own = { kind: 'own' } as const;

describe.each(['llama-untied', 'llama-tied', 'llama-bias', 'qwen2', 'qwen3', 'gemma2'])(
  '%s as a directory',
  (family) => {
    it.each(named)('%s', async (_, exit) => {
      const path = join(golden, 'tiny', family);
      if (family === 'gemma2' && exit.architecture === 'layer') {
        // Its layers look by turns near and far, so one in another's place would look wrongly.
        const model = openModel(path);
        const last = model.spec.layers.at(-1)!.window;
        if (model.spec.layers[exit.layer]!.window !== last)
          await expect(plainModel(model, exit, movedExits(model, exit), 'hf')).rejects.toThrow(/turns and looks as/);
        model.close();
        return;
      }
      const { expected, logits, layers, files } = await written(path, exit, 'hf');
      expect(layers).toBe(exit.layer + (exit.architecture === 'layer' ? 1 : 0));
      expect(maxDifference(logits, expected)).toBeLessThan(1e-3);
      expect(files).toContain('config.json');
    });
  },
);

describe.each(['llama-f16', 'llama-q8_0', 'granite-f16', 'starcoder2-f16'])('%s.gguf', (name) => {
  it.each(named.slice(0, name.startsWith('starcoder2') ? 4 : 7))('%s', async (_, exit) => {
    const { expected, logits, layers } = await written(join(golden, 'gguf', `${name}.gguf`), exit, 'gguf');
    expect(layers).toBe(exit.layer + (exit.architecture === 'layer' ? 1 : 0));
    expect(maxDifference(logits, expected)).toBeLessThan(1e-3);
  });
});

test.each(named.filter(([, { architecture }]) => /norm|lens/.test(architecture)))(
  'a head with a bias of its own, of phi: %s',
  async (_, exit) => {
    const { expected, logits } = await written(join(golden, 'tiny', 'phi'), exit, 'hf');
    expect(maxDifference(logits, expected)).toBeLessThan(1e-3);
  },
);

test.each(['phi', 'cohere'])(
  'a layer of its own, whose norms are two, of %s, whose layers have one',
  async (family) => {
    const model = openModel(join(golden, 'tiny', family));
    const exit: ExitSpec = { layer: 2, architecture: 'layer', head: shared };
    await expect(plainModel(model, exit, movedExits(model, exit), 'hf')).rejects.toThrow(/one for both/);
    model.close();
  },
);

test('what a plain model cannot say is refused with the reason', async () => {
  const model = openModel(join(golden, 'tiny', 'llama-untied'));
  const refused = (exit: ExitSpec) => expect(plainModel(model, exit, movedExits(model, exit), 'hf')).rejects;
  await refused({ layer: 2, architecture: 'embedding', head: own }).toThrow(/reads the stream without a norm/);
  const plain = await plainModel(model, exits[0]!, movedExits(model, exits[0]!), 'hf');
  const writing = { model, plain, quantised: null, name: 'x', card: '', base: 'abc' };
  const taken = temporaryFolder();
  expect(caught(() => writePlain(taken, { ...writing, format: 'hf' })).message).toBe(`${taken} is there already.`);
  expect(existsSync(join(taken, 'config.json'))).toBe(false);
  model.close();
});

describe("a layer behind the model's last", () => {
  const exit: ExitSpec = { layer: 4, architecture: 'layer', head: shared };
  const tiny = (family: string): string => join(golden, 'tiny', family);

  it.each([
    ['a directory', () => tiny('llama-untied'), 'hf'],
    ['the other format', () => withTokenizer(tiny('llama-untied')), 'gguf'],
    ['the language part', () => withEyes(tiny('mistral'), 'mistral3'), 'hf'],
    ['a directory that lists its layers', () => withList(tiny('mistral')), 'hf'],
  ] as const)('is one more, in %s', async (_, base, format) => {
    const { expected, logits, layers } = await written(base(), exit, format);
    expect(layers).toBe(5);
    expect(maxDifference(logits, expected)).toBeLessThan(1e-3);
  });

  it('is refused where layers differ by their places', async () => {
    const model = openModel(tiny('gemma2'));
    await expect(plainModel(model, exit, movedExits(model, exit), 'hf')).rejects.toThrow(/follows the model's last/);
    model.close();
  });

  function withList(path: string): string {
    const folder = join(temporaryFolder(), 'model');
    cpSync(path, folder, { recursive: true });
    const config = JSON.parse(readFileSync(join(path, 'config.json'), 'utf8')) as object;
    const layer_types = Array<string>(4).fill('sliding_attention');
    writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...config, layer_types }));
    return folder;
  }
});

test('a folded lens takes the head of its own, and a directory says that it is not tied', async () => {
  const { directory } = await written(join(golden, 'tiny', 'llama-tied'), exits[2]!, 'hf');
  const config = JSON.parse(readFileSync(join(directory, 'config.json'), 'utf8')) as Record<string, unknown>;
  expect(config).toMatchObject({ tie_word_embeddings: false, num_hidden_layers: 2 });
});

describe('what llama.cpp takes for granted of an architecture is refused where it is otherwise', () => {
  const refusal = async (path: string, exit: ExitSpec, spec: Partial<ModelSpec> = {}): Promise<string> => {
    const base = openModel(path);
    const plain = await plainModel(base, exit, movedExits(base, exit), 'gguf');
    const model = { ...base, spec: { ...base.spec, ...spec } };
    const writing = { model, plain, format: 'gguf', quantised: null, name: 'x', card: '', base: 'abc' } as const;
    const directory = join(temporaryFolder(), 'plain');
    try {
      return caught(() => writePlain(directory, writing)).message;
    } finally {
      base.close();
    }
  };
  const [ofNorm, ofHead] = [exits[0]!, exits[1]!];

  test('a Command R has the head that its embedding is, and norms of queries only where it is deep', async () => {
    const path = file(temporaryFolder(), 'command-r.gguf', ggufTwin('cohere'));
    expect(await refusal(path, ofHead)).toMatch(/no head of its own in a model of family command-r/);
    expect(await refusal(path, ofNorm, { qkNorm: 'heads' })).toMatch(/norms of queries and keys only in a command-r/);
    const { expected, logits } = await written(path, ofNorm, 'gguf');
    expect(maxDifference(logits, expected)).toBeLessThan(1e-3);
  });

  test('a scale of scores that only the number of layers tells', async () => {
    const path = join(golden, 'gguf', 'gemma2-f16.gguf');
    expect(await refusal(path, { ...ofNorm, layer: 1 }, { attentionScale: 144 ** -0.5 })).toMatch(
      /llama.cpp knows by the number of its layers alone how a gemma2 scales its scores/,
    );
  });
});

test('lists with a number for each layer are as long as the model is deep, in a GGUF file', async () => {
  const base = openGguf(join(golden, 'gguf', 'granite-f16.gguf'));
  const key = 'granite.attention.head_count_kv';
  const layers = Number(base.metadata.get('granite.block_count'));
  const list = wholesEntry(key, new Int32Array(layers).fill(Number(base.metadata.get(key))));
  const entries = [...base.metadata.keys()].map((each) => ({ key: each, encoded: base.metadata.encoded(each) }));
  const tensors = [...base.tensors.values()].map((tensor) => ({ ...tensor, bytes: base.read(tensor) }));
  const path = join(temporaryFolder(), 'lists.gguf');
  writeGguf(path, [...entries.filter((each) => each.key !== key), list], tensors);
  const { file, expected, logits } = await written(path, exits[0]!, 'gguf');
  expect(maxDifference(logits, expected)).toBeLessThan(1e-3);
  const plain = openGguf(file);
  expect(plain.metadata.get(key)).toEqual(Int32Array.of(list.encoded[16]!, list.encoded[16]!));
  expect(plain.metadata.get('granite.block_count')).toBe(2);
  for (const each of [base, plain]) each.close();
});

test('what a killed export left is removed, and a folder of its process is not taken over', async () => {
  const { pid } = spawnSync(process.execPath, ['-e', '']);
  const folder = temporaryFolder();
  for (const name of [`.plain.${pid}.00000000-0000-4000-8000-000000000000.tmp`, `.plain.${process.pid}.tmp`]) {
    mkdirSync(join(folder, name));
    writeFileSync(join(folder, name, 'stale.json'), '{}');
  }
  const model = openModel(join(golden, 'tiny', 'llama-untied'));
  const plain = await plainModel(model, exits[0]!, movedExits(model, exits[0]!), 'hf');
  const writing = { model, plain, format: 'hf', quantised: null, name: 'x', card: '', base: 'abc' } as const;
  writePlain(join(folder, 'plain'), writing);
  expect(readdirSync(folder).sort()).toEqual([`.plain.${process.pid}.tmp`, 'plain']);
  expect(readdirSync(join(folder, 'plain'))).not.toContain('stale.json');
  model.close();
});

test('a folder that cannot be made is one sentence that names it', async () => {
  const model = openModel(join(golden, 'tiny', 'llama-untied'));
  const plain = await plainModel(model, exits[0]!, movedExits(model, exits[0]!), 'hf');
  const directory = join(file(temporaryFolder(), 'taken', ''), 'plain');
  const writing = { model, plain, format: 'hf', quantised: null, name: 'x', card: '', base: 'abc' } as const;
  expect(caught(() => writePlain(directory, writing)).message).toMatch(`Cannot write ${directory}: `);
  model.close();
});

test.each(['dtype', 'torch_dtype'])('the type of weights is written once, as %s if the base has it so', async (key) => {
  const path = withTokenizer(join(golden, 'tiny', 'qwen2'));
  const config = join(path, 'config.json');
  writeFileSync(config, readFileSync(config, 'utf8').replace('torch_dtype', key));
  const { directory } = await written(path, exits[0]!, 'hf');
  const says = Object.entries(JSON.parse(readFileSync(join(directory, 'config.json'), 'utf8')) as object);
  expect(says.filter(([name]) => name.endsWith('dtype'))).toEqual([[key, 'float32']]);
});

test.each([
  ['gemma3', 'gemma3_text', 'gemma3_text', 'Gemma3ForCausalLM'],
  ['mistral3', 'ministral3', 'ministral3', 'Ministral3ForCausalLM'],
  ['mistral3', 'mistral', 'mistral', 'MistralForCausalLM'],
] as const)(
  'of a %s that sees, too, the text model alone is written: %s',
  async (type, family, textType, className) => {
    const exit: ExitSpec = { layer: 2, architecture: 'norm', head: own };
    const path = withEyes(join(golden, 'tiny', family), type);
    const { directory, expected, logits } = await written(path, exit, 'hf');
    expect(maxDifference(logits, expected)).toBeLessThan(1e-3);
    const config = JSON.parse(readFileSync(join(directory, 'config.json'), 'utf8')) as Record<string, unknown>;
    expect(config).toMatchObject({ model_type: textType, architectures: [className], num_hidden_layers: 2 });
    expect(config['eos_token_id']).toEqual([1, 106]);
    expect(Object.keys(config)).not.toContain('text_config');
    const [base, plain] = [openModel(path), openModel(directory)];
    const names = [...plain.stored.tensors.tensors.keys()];
    expect(names.filter((name) => !/^(model\.(embed_tokens|norm|layers\.[01])\.|lm_head\.)/.test(name))).toEqual([]);
    const back = takeBack(base, 'abc', plain);
    expect(back.exit).toEqual(exit);
    expect(back.parameters).toEqual(movedExits(base, exit));
    base.close();
    plain.close();
  },
);

test.each(['dtype', 'torch_dtype'])('of the whole, a text model keeps what it does not say itself, %s too', (type) => {
  const whole = { [type]: 'bfloat16', eos_token_id: [1, 106], bos_token_id: 2, pad_token_id: 0, image_token_id: 9 };
  const text = { hidden_size: 64, eos_token_id: 1, bos_token_id: 5 };
  expect(textConfig({ family: 'gemma3', tied: true }, { ...whole, text_config: text })).toEqual({
    hidden_size: 64,
    [type]: 'bfloat16',
    // The whole knows ends of turns, too.
    eos_token_id: [1, 106],
    bos_token_id: 5,
    pad_token_id: 0,
    tie_word_embeddings: true,
    model_type: 'gemma3_text',
    architectures: ['Gemma3ForCausalLM'],
  });
});

describe('blocks', () => {
  it.each(['Q8_0', 'Q4_0'] as const)('%s are ggml’s to the byte', (type) => {
    const random = seededRandom(3);
    const values = Float32Array.from({ length: 64 * 32 }, () => (random() - 0.5) * 10 ** Math.floor(8 * random() - 6));
    values.fill(0, 32, 64);
    const library = openLibrary(libraryFolder()!);
    const blocks = quantiseBlocks(type, values);
    const reference = new Uint8Array(blocks.length);
    library.quantise(types[type], values, reference, 0, 64, 32, null);
    expect(Buffer.from(blocks).equals(reference)).toBe(true);
  });

  it('are what a file has where they are asked for, and what it says stays near', async () => {
    const path = join(golden, 'gguf', 'llama-f16.gguf');
    const { file } = await written(path, exits[4]!, 'gguf', 'Q8_0');
    const gguf = openGguf(file);
    const matrix = gguf.tensors.get('blk.1.ffn_down.weight')!;
    expect([matrix.type, gguf.tensors.get('output_norm.weight')!.type]).toEqual(['Q8_0', 'F32']);
    const model = openModel(path);
    const [value] = [...movedExits(model, exits[4]!)]
      .find(([name]) => name === `${exitPath(exits[4]!)}.mlp.down_proj.weight`)!
      .slice(1) as [ParameterValues];
    const rounded = dequantise('Q8_0', gguf.read(matrix), value.data.length);
    const size = Math.max(...value.data.map(Math.abs));
    expect(maxDifference(rounded, value.data)).toBeLessThan(size / 127);
    gguf.close();
    model.close();
  });
});

describe('of a mixture', () => {
  it('experts become blocks where they stood, and the router stays as it is', async () => {
    const base = openModel(join(golden, 'gguf', 'qwen3moe-f16.gguf'));
    const plain = await plainModel(base, exits[1]!, movedExits(base, exits[1]!), 'gguf');
    const directory = join(temporaryFolder(), 'plain');
    writePlain(directory, { model: base, plain, format: 'gguf', quantised: 'Q8_0', name: 'x', card: '', base: 'abc' });
    const read = openModel(join(directory, 'x.gguf'));
    const typeOf = (kind: string) => read.stored.tensors.tensors.get(`blk.1.${kind}.weight`)!.type;
    expect(['ffn_gate_exps', 'ffn_up_exps', 'ffn_down_exps', 'ffn_gate_inp', 'attn_q'].map(typeOf)).toEqual([
      ...Array.from({ length: 3 }, () => 'Q8_0'),
      base.stored.tensors.tensors.get('blk.1.ffn_gate_inp.weight')!.type,
      'Q8_0',
    ]);
    for (const name of ['gate_proj', 'up_proj', 'down_proj'].map((each) => `layers.1.mlp.experts.${each}.weight`)) {
      const [wanted, found] = [base, read].map(({ parameters }) => parameters.values(name));
      expect(maxDifference(found!, wanted!)).toBeLessThan(Math.max(...wanted!.map(Math.abs)) / 200);
    }
    base.close();
    read.close();
  });

  it('says of a shallower one only the dense layers that it has', async () => {
    const path = withTokenizer(join(golden, 'tiny', 'qwen3_moe'));
    const file = join(path, 'config.json');
    const config = JSON.parse(readFileSync(file, 'utf8')) as object;
    // As if the last of three layers were dense, so that a mixture is all that is left.
    writeFileSync(file, JSON.stringify({ ...config, mlp_only_layers: [2] }));
    const source = openSafetensors(path);
    const matrices = ['gate_proj', 'up_proj', 'down_proj'].map((name): TensorData => {
      const shape = name === 'down_proj' ? [48, 96] : [96, 48];
      const bytes = new Uint8Array(4 * 48 * 96);
      return { name: `model.layers.2.mlp.${name}.weight`, type: 'F32', shape, bytes };
    });
    const kept = [...source.tensors.values()].map((tensor): TensorData => ({ ...tensor, bytes: source.read(tensor) }));
    source.close();
    writeSafetensors(join(path, 'model.safetensors'), [...kept, ...matrices]);
    const { directory, expected, logits } = await written(path, exits[0]!, 'hf');
    expect(maxDifference(logits, expected)).toBeLessThan(1e-3);
    const says = JSON.parse(readFileSync(join(directory, 'config.json'), 'utf8')) as object;
    expect(says).toMatchObject({ num_hidden_layers: 2, mlp_only_layers: [] });
  });

  it.each([
    ['blk.0.ffn_down_exps.weight', [4, 64, 32], true],
    ['blk.0.ffn_gate.7.weight', [64, 32], true],
    ['blk.0.ffn_gate_exps.bias', [4, 32], false],
    ['blk.0.ffn_gate_inp.weight', [4, 32], false],
    ['blk.0.attn_q_norm.weight', [4, 32], false],
    ['position_embd.weight', [64, 32], false],
    ['blk.0.ffn_down_exps.weight', [4, 32, 24], false],
  ])('whether %s of %j becomes blocks: %s', (name, shape, is) => expect(isMatrix(name, shape)).toBe(is));
});

const ofSmall: ExitSpec[] = [
  { layer: 10, architecture: 'lens', head: shared },
  { layer: 12, architecture: 'layer', head: shared },
];
const small = join(process.env['EARLY_EXIT_MODELS'] ?? '../shared/models', 'SmolLM2-135M-Instruct.Q4_1.gguf');
describe.skipIf(!existsSync(small) || !hasLlama())(
  'in llama.cpp (skipped where SmolLM2 or llama.cpp is not here)',
  () => {
    it.each(ofSmall)('SmolLM2, $layer:$architecture, says the same text, but for near ties', async (exit) => {
      const model = openModel(small);
      const plain = await plainModel(model, exit, movedExits(model, exit, 0.01), 'gguf');
      const directory = join(temporaryFolder(), 'plain');
      writePlain(directory, { model, plain, format: 'gguf', quantised: null, name: 'plain', card: '', base: 'abc' });
      model.close();
      const file = join(directory, 'plain.gguf');
      const llama = openLlama(file);
      const prompt = llama.tokenize('The capital of France is Paris. The capital of Spain is');
      const read = openModel(file);
      const staged = await openStagedModel(read, undefined, { arithmetic: 'int8' });
      const parted = await partedLogits(staged, prompt, llama.greedy(prompt, 16));
      expect(Math.max(0, ...parted)).toBeLessThan(0.05);
      await staged.dispose();
      read.close();
    });
  },
);
