/** Names, shapes and first values of every exit's parameters. */
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { initialiseExit } from '../../../backend/exits/initialise.ts';
import { checkParameters, exitParameters, frozenParameters } from '../../../backend/exits/parameters.ts';
import type { ExitArchitecture, ExitSpec, HeadSpec } from '../../../backend/exits/spec.ts';
import { openModel } from '../../../backend/model/open.ts';
import { fixtures } from '../../support/golden.ts';

const tiny = (family: string): ReturnType<typeof openModel> => openModel(join(fixtures, 'tiny', family));
const llama = tiny('llama-untied');
const { hidden, feedForward, vocabulary } = llama.spec;
const own: HeadSpec = { kind: 'own' };
const listed: HeadSpec = { kind: 'shortlist', tokens: [7, 2, 90] };
const exitOf = (architecture: ExitArchitecture, head: HeadSpec = own, layer = 2): ExitSpec => ({
  layer,
  architecture,
  head,
});
const listOf = (exit: ExitSpec, model = llama): [string, readonly number[]][] =>
  exitParameters(model.spec, exit, model.parameters).map(({ name, shape }) => [
    name.split('.').slice(3).join('.'),
    shape,
  ]);

describe('what is trained', () => {
  const head: [string, number[]] = ['head.weight', [vocabulary, hidden]];
  const norm: [string, number[]] = ['norm.weight', [hidden]];
  test.each<[ExitSpec, [string, number[]][]]>([
    [exitOf('embedding'), [head]],
    [exitOf('norm'), [norm, head]],
    [exitOf('norm', { kind: 'shared' }), [norm]],
    [exitOf('norm', listed), [norm, ['head.weight', [4, hidden]]]],
    [
      exitOf('mlp'),
      [
        ['mlp.gate_proj.weight', [feedForward, hidden]],
        ['mlp.up_proj.weight', [feedForward, hidden]],
        ['mlp.down_proj.weight', [hidden, feedForward]],
        norm,
        head,
      ],
    ],
    [exitOf('lens', { kind: 'shared' }), [['translator.weight', [hidden, hidden]], norm]],
    [exitOf('lens'), [['translator.weight', [hidden, hidden]], norm, head]],
  ])('by %o', (exit, expected) => {
    expect(listOf(exit)).toEqual(expected);
  });

  test('by a layer: all of the last layer', () => {
    expect(listOf(exitOf('layer')).map(([name]) => name)).toEqual([
      'layer.input_layernorm.weight',
      'layer.self_attn.q_proj.weight',
      'layer.self_attn.k_proj.weight',
      'layer.self_attn.v_proj.weight',
      'layer.self_attn.o_proj.weight',
      'layer.post_attention_layernorm.weight',
      'layer.mlp.gate_proj.weight',
      'layer.mlp.up_proj.weight',
      'layer.mlp.down_proj.weight',
      'norm.weight',
      'head.weight',
    ]);
  });

  test('biases where the backbone has them', () => {
    expect(listOf(exitOf('mlp'), tiny('gpt2')).map(([name]) => name)).toEqual([
      'mlp.up_proj.weight',
      'mlp.up_proj.bias',
      'mlp.down_proj.weight',
      'mlp.down_proj.bias',
      'norm.weight',
      'norm.bias',
      'head.weight',
    ]);
  });

  test('the bias of the head, too', () => {
    const phi = tiny('phi');
    const { vocabulary: all, hidden: width } = phi.spec;
    expect(listOf(exitOf('embedding'), phi)).toEqual([
      ['head.weight', [all, width]],
      ['head.bias', [all]],
    ]);
    expect(listOf(exitOf('embedding', listed), phi)).toEqual([
      ['head.weight', [4, width]],
      ['head.bias', [4]],
    ]);
    expect(listOf(exitOf('lens', { kind: 'shared' }), phi).map(([name]) => name)).not.toContain('head.bias');
  });

  test('and what is read but frozen', () => {
    expect(frozenParameters(exitOf('mlp'), llama.parameters, false)).toEqual([
      'layers.1.post_attention_layernorm.weight',
    ]);
    expect(frozenParameters(exitOf('norm', { kind: 'shared' }), llama.parameters, false)).toEqual(['lm_head.weight']);
    expect(frozenParameters(exitOf('layer'), llama.parameters, true)).toEqual(['lm_head.weight']);
    expect(frozenParameters(exitOf('mlp'), tiny('gemma3_text').parameters, false)).toEqual([
      'layers.1.post_attention_layernorm.weight',
      'layers.1.pre_feedforward_layernorm.weight',
      'layers.1.post_feedforward_layernorm.weight',
    ]);
  });

  test('an exit that would train nothing is refused', () => {
    expect(() => listOf(exitOf('embedding', { kind: 'shared' }))).toThrow(
      '2:embedding with a shared head has nothing to train',
    );
  });
});

describe('loading', () => {
  const list = exitParameters(llama.spec, exitOf('norm'), llama.parameters);
  const values = new Map([
    ['exits.2.norm.norm.weight', new Float32Array(hidden)],
    ['exits.2.norm.head.weight', new Float32Array(vocabulary * hidden)],
  ]);
  const refuse = (change: (copy: typeof values) => void): string => {
    const copy = new Map(values);
    change(copy);
    try {
      checkParameters(list, copy, 'exits.safetensors');
    } catch (error) {
      return (error as Error).message;
    }
    return '';
  };

  test('takes exactly the list', () => {
    expect(refuse(() => undefined)).toBe('');
  });
  test('refuses what is missing, unknown or of another size', () => {
    expect(refuse((copy) => copy.delete('exits.2.norm.norm.weight'))).toBe(
      'exits.safetensors lacks the parameter "exits.2.norm.norm.weight".',
    );
    expect(refuse((copy) => copy.set('exits.2.norm.norm.bias', new Float32Array(1)))).toBe(
      'exits.safetensors holds an unknown parameter "exits.2.norm.norm.bias".',
    );
    expect(refuse((copy) => copy.set('exits.2.norm.norm.weight', new Float32Array(3)))).toBe(
      `exits.safetensors: "exits.2.norm.norm.weight" has 3 numbers, but its shape is [${hidden}].`,
    );
  });
});

describe('a copy', () => {
  const copyOf = (exit: ExitSpec): Map<string, Float32Array> =>
    initialiseExit(llama.spec, exit, llama.parameters, { kind: 'copy' });

  test('takes the same MLP, the last layer, the final norm and the output matrix', () => {
    const { parameters, spec } = llama;
    expect(copyOf(exitOf('mlp')).get('exits.2.mlp.mlp.up_proj.weight')).toEqual(
      parameters.values('layers.1.mlp.up_proj.weight'),
    );
    const last = `layers.${spec.layers.length - 1}.self_attn.k_proj.weight`;
    expect(copyOf(exitOf('layer')).get('exits.2.layer.layer.self_attn.k_proj.weight')).toEqual(parameters.values(last));
    expect(copyOf(exitOf('norm')).get('exits.2.norm.norm.weight')).toEqual(parameters.values('norm.weight'));
    expect(copyOf(exitOf('norm')).get('exits.2.norm.head.weight')).toEqual(parameters.values('lm_head.weight'));
  });

  test('translates nothing', () => {
    const translator = copyOf(exitOf('lens')).get('exits.2.lens.translator.weight')!;
    translator.forEach((value, i) => expect(value).toBe(i % (hidden + 1) === 0 ? 1 : 0));
  });

  test('lists its tokens, and defers with the mean of the others', () => {
    const all = llama.parameters.values('lm_head.weight');
    const head = copyOf(exitOf('norm', listed)).get('exits.2.norm.head.weight')!;
    [7, 2, 90].forEach((token, place) => {
      expect(head.subarray(place * hidden, (place + 1) * hidden)).toEqual(
        all.subarray(token * hidden, (token + 1) * hidden),
      );
    });
    for (const j of [0, hidden - 1]) {
      let sum = 0;
      for (let token = 0; token < vocabulary; token++) if (![7, 2, 90].includes(token)) sum += all[token * hidden + j]!;
      expect(head[3 * hidden + j]).toBeCloseTo(sum / (vocabulary - 3), 6);
    }
  });
});

test('a bias of the head is copied as its rows are, and noise has none', () => {
  const { spec, parameters } = tiny('phi');
  const biasOf = (head: HeadSpec, kind: 'copy' | 'random'): Float32Array =>
    initialiseExit(spec, exitOf('norm', head), parameters, { kind, seed: 1 }).get('exits.2.norm.head.bias')!;
  const all = parameters.values('lm_head.bias');
  expect(biasOf(own, 'copy')).toEqual(all);
  const short = biasOf(listed, 'copy');
  expect([...short.subarray(0, 3)]).toEqual([7, 2, 90].map((token) => all[token]));
  const others = all.filter((_, token) => ![7, 2, 90].includes(token));
  expect(short[3]).toBeCloseTo(others.reduce((sum, x) => sum + x) / others.length, 6);
  expect(new Set(biasOf(own, 'random'))).toEqual(new Set([0]));
});

describe('noise', () => {
  const drawn = (exit: ExitSpec, seed: number, model = llama): Map<string, Float32Array> =>
    initialiseExit(model.spec, exit, model.parameters, { kind: 'random', seed });
  const deviation = (values: Float32Array): number => Math.hypot(...values) / Math.sqrt(values.length);

  test('has the deviations of the paper, and norms of one', () => {
    const values = drawn(exitOf('layer', own, 3), 1);
    expect(deviation(values.get('exits.3.layer.layer.mlp.up_proj.weight')!)).toBeCloseTo(0.02, 3);
    expect(deviation(values.get('exits.3.layer.layer.mlp.down_proj.weight')!)).toBeCloseTo(0.02 / Math.sqrt(6), 3);
    expect(deviation(values.get('exits.3.layer.layer.self_attn.o_proj.weight')!)).toBeCloseTo(0.02 / Math.sqrt(6), 3);
    expect(deviation(values.get('exits.3.layer.head.weight')!)).toBeCloseTo(0.02, 3);
    expect(new Set(values.get('exits.3.layer.norm.weight'))).toEqual(new Set([1]));
    expect(new Set(drawn(exitOf('norm'), 1, tiny('gemma3_text')).get('exits.2.norm.norm.weight'))).toEqual(
      new Set([0]),
    );
    const gpt2 = drawn(exitOf('mlp'), 1, tiny('gpt2'));
    expect(new Set(gpt2.get('exits.2.mlp.mlp.up_proj.bias'))).toEqual(new Set([0]));
  });

  test('is centred, with tails of a normal distribution', () => {
    const values = drawn(exitOf('norm'), 5).get('exits.2.norm.head.weight')!;
    const mean = values.reduce((sum, x) => sum + x) / values.length;
    expect(Math.abs(mean)).toBeLessThan((4 * 0.02) / Math.sqrt(values.length));
    const beyond = values.filter((x) => Math.abs(x) > 0.04).length / values.length;
    expect(beyond).toBeGreaterThan(0.04);
    expect(beyond).toBeLessThan(0.052); // 4.55 %
  });

  test('depends on the seed and the parameter alone', () => {
    expect(drawn(exitOf('norm'), 1)).toEqual(drawn(exitOf('norm'), 1));
    expect(drawn(exitOf('norm'), 1)).not.toEqual(drawn(exitOf('norm'), 2));
    const [a, b] = [drawn(exitOf('mlp'), 1), drawn(exitOf('mlp', own, 3), 1)];
    expect(a.get('exits.2.mlp.head.weight')).not.toEqual(b.get('exits.3.mlp.head.weight'));
  });
});
