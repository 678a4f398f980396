/** Encoding in steps, against the library's own encoding of the whole text. */
import { Tokenizer as Encoder } from '@huggingface/tokenizers';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { stepEncoder } from '../../../../backend/data/tokenizer/encoding.ts';
import { finish } from '../../../../backend/data/steps.ts';
import { loadTokenizer, type Tokenizer } from '../../../../backend/data/tokenizer/tokenizer.ts';
import { gpt2Split, split } from '../../../../backend/data/tokenizer/file.ts';
import { random } from '../../../support/random.ts';
import { temporaryFolder } from '../../formats/fixtures.ts';
import { byteLevelFile, sentencePieceFile, stringEntry } from '../fixtures.ts';

const shipped = JSON.parse(readFileSync('models/typescript-5m/tokenizer.json', 'utf8')) as Record<string, unknown> & {
  model: Record<string, unknown>;
};
const bytes = { type: 'ByteLevel', add_prefix_space: false, use_regex: false };
const marker = { id: 4095, content: '<m>', special: true, normalized: false };
const added = (more: object = {}): object => ({ added_tokens: [{ ...marker, ...more }] });
const sequence = (...pretokenizers: object[]): object => ({ pre_tokenizer: { type: 'Sequence', pretokenizers } });
const lettersOnly = { a: 0, b: 1, ab: 2, '?': 3, '▁': 4, '▁a': 5 };
const unknowns = {
  decoder: { type: 'Metaspace' },
  model: { type: 'BPE', vocab: lettersOnly, merges: ['a b', '▁ a'], unk_token: '?', fuse_unk: true },
};

const forms: [string, object][] = [
  ['as it ships', {}],
  [
    'with splits within splits',
    sequence(split('\\p{N}'), { type: 'Sequence', pretokenizers: [split(gpt2Split), bytes] }),
  ],
  ['with markers', added()],
  ['with markers that take spaces away', added({ lstrip: true, rstrip: true })],
  ['with a normaliser', { ...added({ normalized: true }), normalizer: { type: 'NFC' } }],
  ['with a prefix space', sequence({ type: 'ByteLevel', add_prefix_space: true })],
  ['with words that a split removes', sequence({ ...split(' '), behavior: 'Removed' }, bytes)],
  ['with words that are matches', sequence({ ...split('\\w+'), invert: true }, bytes)],
  ['without words', { pre_tokenizer: null, ...unknowns, ...added() }],
  ['with Metaspace', { ...unknowns, pre_tokenizer: { type: 'Metaspace', prepend_scheme: 'first' }, ...added() }],
  [
    'with tokens around a text',
    {
      ...added(),
      post_processor: {
        type: 'TemplateProcessing',
        single: [{ SpecialToken: { id: '<m>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
        pair: [],
        special_tokens: { '<m>': { id: '<m>', ids: [4095], tokens: ['<m>'] } },
      },
    },
  ],
];

const parts = [
  'a',
  'b',
  ' ',
  '  ',
  '\n',
  '\t',
  'const x',
  '= 12',
  '3',
  '<m>',
  'é',
  'e\u0301',
  '字',
  '🙂',
  "it's",
  '"',
  ';',
  '\r\n',
];

test.each(forms)('a tokenizer %s gives the ids that the library gives', (_, form) => {
  const encoder = new Encoder({ ...shipped, ...form }, {});
  const steps = stepEncoder(encoder);
  const next = random(3);
  for (let round = 0; round < 120; round++) {
    const text = Array.from(
      { length: Math.floor(next() * (round < 100 ? 12 : 3000)) },
      () => parts[Math.floor(next() * parts.length)]!,
    ).join('');
    for (const special of [true, false])
      expect(finish(steps(text, special))).toEqual(encoder.encode(text, { add_special_tokens: special }).ids);
  }
});

const tokenizers: Readonly<Record<string, () => Tokenizer>> = {
  shipped: () => loadTokenizer('models/typescript-5m'),
  'byte level': () => loadTokenizer(byteLevelFile(temporaryFolder(), 'qwen2')),
  SentencePiece: () => loadTokenizer(sentencePieceFile(temporaryFolder())),
};

test.each(Object.entries(tokenizers))('a long text takes many steps: %s', (_, load) => {
  const tokenizer = load();
  for (const text of ['const value = (a, b) => a + b;\n'.repeat(8000), 'ab'.repeat(60_000), ' x'.repeat(100_000)]) {
    const steps = tokenizer.encodeSteps(text);
    let [count, last] = [0, 0];
    let step = steps.next();
    for (; !step.done; step = steps.next()) {
      count++;
      expect(step.value).toBeGreaterThanOrEqual(last);
      last = step.value;
    }
    expect(step.value).toEqual(tokenizer.encode(text));
    // Few thousand characters each.
    expect(count).toBeGreaterThan(text.length / 8192);
  }
});

test('a text has at least as many ids as its length says', () => {
  const next = random(8);
  const [shipped, byteLevel, sentencePiece] = Object.values(tokenizers).map((load) => load());
  for (const tokenizer of [shipped!, byteLevel!, sentencePiece!])
    for (let round = 0; round < 200; round++) {
      const text = Array.from(
        { length: Math.floor(next() * 60) },
        () => parts[Math.floor(next() * parts.length)]!,
      ).join('');
      expect(tokenizer.leastIds(text)).toBeLessThanOrEqual(tokenizer.encode(text).length);
    }
  expect(shipped!.leastIds('x'.repeat(1_000_000))).toBeGreaterThan(5000);
  // SentencePiece's may leave a character out.
  expect(sentencePiece!.leastIds('x'.repeat(1_000_000))).toBe(0);
});

test('special tokens of Phi-3 in a GGUF take the blanks behind them, and its <s> leaves them', () => {
  const ids = (architecture: string, text: string): number[] => [
    ...loadTokenizer(sentencePieceFile(temporaryFolder(), [stringEntry('general.architecture', architecture)])).encode(
      text,
    ),
  ];
  expect(ids('phi3', 'a</s>\n b')).toEqual(ids('phi3', 'a</s>b'));
  expect(ids('phi3', 'a<s> b')).not.toEqual(ids('phi3', 'a<s>b'));
  expect(ids('llama', 'a</s>\n b')).not.toEqual(ids('llama', 'a</s>b'));
});
