import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  fimPrompt,
  fimTokens,
  textBeforeGap,
  type FimRequest,
  type FimTokenizer,
} from '../../../../backend/data/prompts/fim.ts';
import { loadTokenizer } from '../../../../backend/data/tokenizer/tokenizer.ts';
import { hasLlama, openLlama, type Llama } from '../../../support/llama.ts';
import { caught, temporaryFolder } from '../../formats/fixtures.ts';
import { byteLevelFile, golden, numberEntry, sentencePieceFile, type Golden } from '../fixtures.ts';

/** Ids that a reader can follow: characters are their codes. */
const codes = (text: string): number[] => Array.from(text, (character) => character.codePointAt(0)!);
const plain = (changes: Partial<FimTokenizer> = {}): FimTokenizer => ({
  path: 'a tokenizer',
  fim: { prefix: 1001, suffix: 1002, middle: 1003, repository: 1004, file: 1005, ends: [], order: 'prefix-first' },
  startId: null,
  encodePlain: codes,
  encodeInside: codes,
  heal: (ids) => ({ ids, begun: null }),
  ...changes,
});
const without = (changes: object): FimTokenizer => plain({ fim: { ...plain().fim!, ...changes } });

describe('prompts for filling in the middle', () => {
  it('show a file by itself without names, prefix first', () => {
    const alone = [1001, ...codes('ab'), 1002, ...codes('c'), 1003];
    const request = { prefix: codes('ab'), suffix: codes('c') };
    expect(fimPrompt(plain(), request)).toEqual(alone);
    expect(fimPrompt(plain(), { ...request, repository: 'r', file: 'f', chunks: [] })).toEqual(alone);
  });

  it('name repository and file behind text of other files', () => {
    const ids = fimPrompt(plain(), { prefix: codes('p'), suffix: codes('s'), chunks: [{ file: 'a', text: 'x' }] });
    const names = [1004, ...codes('myproject\n'), 1005, ...codes('a\nx'), 1005, ...codes('filename\n')];
    expect(ids).toEqual([...names, 1001, 112, 1002, 115, 1003]);
  });

  it('put each chunk behind its name', () => {
    const chunks = [
      { file: 'a.ts', text: 'x' },
      { file: '', text: 'y' },
    ];
    const ids = fimPrompt(plain(), { prefix: [], suffix: [], chunks, repository: 'r', file: 'b.ts' });
    expect(ids).toEqual([
      1004,
      ...codes('r\n'),
      1005,
      ...codes('a.ts\nx'),
      1005,
      ...codes('tmp\ny'),
      1005,
      ...codes('b.ts\n'),
      1001,
      1002,
      1003,
    ]);
  });

  it('separate chunks by a line where the model knows no files, and name nothing', () => {
    const bare = without({ repository: null, file: null });
    expect(fimPrompt(bare, { prefix: codes('p'), suffix: codes('s') })).toEqual([1001, 112, 1002, 115, 1003]);
    const ids = fimPrompt(bare, { prefix: codes('p'), suffix: codes('s'), chunks: [{ file: 'a', text: 'x' }] });
    expect(ids).toEqual([...codes('\n\n--- snippet ---\n\nx'), 1001, 112, 1002, 115, 1003]);
  });

  it('put the suffix first where the model was taught so', () => {
    const taughtSo = without({ repository: null, file: null, order: 'suffix-first' });
    const ids = fimPrompt(taughtSo, { prefix: codes('p'), suffix: codes('s') });
    expect(ids).toEqual([1002, 115, 1001, 112, 1003]);
  });

  it('are followed, as text, without their suffix', () => {
    const fim = { prefix: 1001, suffix: 1002, middle: 1003, repository: null, file: null, ends: [] } as const;
    const prefixFirst = { ...fim, order: 'prefix-first' } as const;
    expect(textBeforeGap([1001, 112, 7, 1002, 115, 1003], prefixFirst)).toEqual([1001, 112, 7]);
    expect(textBeforeGap([1001, 112, 7, 1002, 115, 1003, 9, 10], prefixFirst)).toEqual([1001, 112, 7, 9, 10]);
    // The gap is that of the last text.
    expect(textBeforeGap([1001, 1, 1002, 2, 1003, 3, 1001, 112, 1002, 1003], prefixFirst)).toEqual([
      1001, 1, 1002, 2, 1003, 3, 1001, 112,
    ]);
    const suffixFirst = { ...fim, order: 'suffix-first' } as const;
    expect(textBeforeGap([4, 1002, 115, 1001, 112, 7, 1003, 9], suffixFirst)).toEqual([4, 1001, 112, 7, 9]);
    for (const other of [[112, 7], [1003, 7], [1001, 112, 1002, 115], [1003, 1001, 1002], []])
      expect(textBeforeGap(other, prefixFirst)).toEqual(other);
    expect(textBeforeGap([1001, 112, 1002, 115, 1003], null)).toEqual([1001, 112, 1002, 115, 1003]);
  });

  it('begin with what stands before each text', () => {
    const request = { prefix: codes('p'), suffix: codes('s') };
    const alone = fimPrompt(plain({ startId: 1 }), request);
    expect(alone.slice(0, 2)).toEqual([1, 1001]);
    const ids = fimPrompt(plain({ startId: 1 }), { ...request, chunks: [{ file: 'a', text: 'x' }] });
    expect(ids.slice(0, 2)).toEqual([1, 1004]);
  });

  it('keep the end of names and chunks', () => {
    const bare = without({ repository: null, file: null });
    const request = { prefix: codes('p'), suffix: codes('s'), chunks: [{ file: 'a', text: 'xyz' }] };
    const parts = [1001, 112, 1002, 115, 1003];
    expect(fimPrompt(bare, { ...request, contextTokens: 2 })).toEqual([...codes('yz'), ...parts]);
    expect(fimPrompt(plain(), { ...request, contextTokens: 0 })).toEqual(parts);
  });

  it('are refused for a model without such tokens', () => {
    const error = caught(() => fimPrompt(plain({ fim: null }), { prefix: [], suffix: [] }));
    expect(error.message).toBe('The tokenizer of a tokenizer has no tokens for filling in the middle.');
  });
});

describe('tokens for filling in the middle', () => {
  const of = (...names: string[]) => {
    const ids = new Map(names.map((name, i) => [name, i]));
    return (text: string): number | undefined => ids.get(text);
  };
  it.each([
    [
      'Qwen2.5-Coder',
      ['<|fim_prefix|>', '<|fim_middle|>', '<|fim_suffix|>', '<|fim_pad|>', '<|repo_name|>', '<|file_sep|>'],
      { prefix: 0, suffix: 2, middle: 1, repository: 4, file: 5, ends: [3, 4, 5], order: 'prefix-first' },
    ],
    [
      'CodeGemma',
      ['<|fim_prefix|>', '<|fim_middle|>', '<|fim_suffix|>', '<|file_separator|>'],
      { prefix: 0, suffix: 2, middle: 1, repository: null, file: 3, ends: [3], order: 'prefix-first' },
    ],
    [
      'StarCoder2',
      ['<fim_prefix>', '<fim_middle>', '<fim_suffix>', '<fim_pad>', '<repo_name>', '<file_sep>'],
      { prefix: 0, suffix: 2, middle: 1, repository: 4, file: 5, ends: [3, 4, 5], order: 'prefix-first' },
    ],
    [
      'Granite',
      ['<fim_prefix>', '<fim_middle>', '<fim_suffix>', '<fim_pad>', '<filename>', '<reponame>'],
      { prefix: 0, suffix: 2, middle: 1, repository: 5, file: 4, ends: [3, 5, 4], order: 'prefix-first' },
    ],
    [
      'DeepSeek-Coder',
      ['<｜fim▁hole｜>', '<｜fim▁begin｜>', '<｜fim▁end｜>'],
      { prefix: 1, suffix: 0, middle: 2, repository: null, file: null, ends: [], order: 'prefix-first' },
    ],
    [
      'CodeLlama',
      ['▁<PRE>', '▁<MID>', '▁<SUF>', '▁<EOT>'],
      { prefix: 0, suffix: 2, middle: 1, repository: null, file: null, ends: [3], order: 'prefix-first' },
    ],
    [
      'Seed-Coder',
      ['<[fim-prefix]>', '<[fim-suffix]>', '<[fim-middle]>'],
      { prefix: 0, suffix: 1, middle: 2, repository: null, file: null, ends: [], order: 'suffix-first' },
    ],
  ])('of %s are known by name', (_, names, expected) => {
    expect(fimTokens(of(...names))).toEqual(expected);
  });

  it('are none where one is missing, whatever else is there', () => {
    expect(fimTokens(of('<fim_prefix>', '<fim_suffix>', '<file_sep>'))).toBeNull();
    // Of two families a third each.
    expect(fimTokens(of('<fim_prefix>', '<fim-suffix>', '<PRE>'))).toBeNull();
  });

  it('are those that a GGUF file names, newer keys first', () => {
    const keys: [string, number][] = [
      ['fim_pre', 10],
      ['prefix', 9],
      ['suffix', 11],
      ['fim_mid', 12],
      ['fim_sep', 13],
    ];
    const entries = keys.map(([key, id]) => numberEntry(`tokenizer.ggml.${key}_token_id`, id));
    const { fim } = loadTokenizer(byteLevelFile(temporaryFolder(), 'gpt-2', entries));
    expect(fim).toMatchObject({ prefix: 10, suffix: 11, middle: 12, file: 13, repository: null });
    expect(loadTokenizer(byteLevelFile(temporaryFolder(), 'gpt-2')).fim).toBeNull();
  });
});

describe('plain text', () => {
  it('holds no special token, whatever it spells', () => {
    const { tokens } = golden<Golden>('byte-level');
    const tokenizer = loadTokenizer(byteLevelFile(temporaryFolder(), 'gpt-2'));
    const special = tokens.indexOf('<|end|>');
    expect(tokenizer.encode('a<|end|>')).toContain(special);
    expect(tokenizer.encodePlain('a<|end|>')).not.toContain(special);
    expect(tokenizer.decode(tokenizer.encodePlain('a<|end|>'))).toBe('a<|end|>');
    expect(tokenizer.encodePlain('abc')).toEqual(tokenizer.encode('abc'));
  });

  it('has no start, and a user-defined token is one', () => {
    const { tokens } = golden<Golden>('sentencepiece');
    const bos = numberEntry('tokenizer.ggml.bos_token_id', 1);
    const tokenizer = loadTokenizer(sentencePieceFile(temporaryFolder(), [bos]));
    expect(tokenizer.startId).toBe(1);
    expect(tokenizer.encodePlain('<b>').at(-1)).toBe(tokens.indexOf('<b>'));
    expect(tokenizer.encodePlain('')).toEqual([]);
    expect(tokenizer.encodePlain('a')).toEqual(tokenizer.encode('a').slice(1));
  });
});

const coder = join(process.env['EARLY_EXIT_MODELS'] ?? '../shared/models', 'qwen2.5-coder-0.5b.gguf');
describe.skipIf(!existsSync(coder) || !hasLlama())(
  'Qwen2.5-Coder (skipped where EARLY_EXIT_MODELS has no qwen2.5-coder-0.5b.gguf, or llama.cpp is not here)',
  () => {
    type Texts = Pick<FimRequest, 'chunks'> & { readonly prefix: string; readonly suffix: string };

    /** format_prompt_infill of llama.cpp's tools/server, over its own tokens, which names files even if there are no others. */
    const reference = ({ tokenize, fim }: Llama, { prefix, suffix, chunks = [] }: Texts): number[] => [
      ...(chunks.length === 0 ? [] : [fim.rep, ...tokenize('myproject\n')]),
      ...chunks.flatMap(({ file, text }) => [fim.sep, ...tokenize(`${file}\n`), ...tokenize(text)]),
      ...(chunks.length === 0 ? [] : [fim.sep, ...tokenize('filename\n')]),
      fim.pre,
      ...tokenize(prefix),
      fim.suf,
      ...tokenize(suffix),
      fim.mid,
    ];

    it('gets the prompts of llama.cpp, token by token, without names where no other file is shown', () => {
      const llama = openLlama(coder);
      const tokenizer = loadTokenizer(coder);
      const long = 'export function parse(text: string): number[] { return text.split(",").map(Number); }\n'.repeat(
        150,
      );
      const requests: Texts[] = [
        { prefix: 'const x = ', suffix: ';\n' },
        { prefix: '', suffix: '' },
        { prefix: 'a <|fim_middle|> b <|im_end|>', suffix: '<|file_sep|><tool_call>' },
        {
          prefix: long,
          suffix: long,
          chunks: [
            { file: 'src/ä.ts', text: 'let 東 = "🙂";\r\n\t\n' },
            { file: 'b', text: long },
          ],
        },
      ];
      for (const texts of requests) {
        const [prefix, suffix] = [tokenizer.encodePlain(texts.prefix), tokenizer.encodePlain(texts.suffix)];
        expect(fimPrompt(tokenizer, { ...texts, prefix, suffix })).toEqual(reference(llama, texts));
      }
    });
  },
);
