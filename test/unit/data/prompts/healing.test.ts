/**
 * Prompts that end where typing stopped, over five tokenizers: what is kept are the tokens that the whole text has there, and the next
 * of these is one that the healed prompt allows.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { healed, openLength } from '../../../../backend/data/prompts/healing.ts';
import { loadTokenizer, type Tokenizer } from '../../../../backend/data/tokenizer/tokenizer.ts';
import { shippedModel } from '../../../support/golden.ts';
import { temporaryFolder } from '../../formats/fixtures.ts';
import { byteLevelFile, numberEntry, sentencePieceFile } from '../fixtures.ts';

const text = `class Statistics {
  constructor(private readonly values: number[]) {}

  mean() {
    let total = 0;
    for (const value of this.values) total += value;
    return total / this.values.length;
  }
\tmedian(): number | undefined {
\t\tif (this.values.length === 0) return undefined; // größer 🦊
      }
}
`;
const smol = join(process.env['EARLY_EXIT_MODELS'] ?? '../shared/models', 'SmolLM2-135M-Instruct.Q4_1.gguf');
const bos = numberEntry('tokenizer.ggml.bos_token_id', 1);
const tokenizers: [string, () => string][] = [
  ['the model that ships', () => shippedModel],
  ['bytes, split as GPT-2 does', () => byteLevelFile(temporaryFolder(), 'gpt-2')],
  ['bytes, split as Qwen2 does', () => byteLevelFile(temporaryFolder(), 'qwen2')],
  ['pieces', () => sentencePieceFile(temporaryFolder(), [bos])],
  ...(existsSync(smol) ? [['SmolLM2', () => smol] as [string, () => string]] : []),
];

describe.each(tokenizers)('a healed prompt of %s', (_, path) => {
  let tokenizer: Tokenizer;
  let whole: readonly number[];
  beforeEach(() => {
    tokenizer = loadTokenizer(path());
    whole = tokenizer.encode(text);
  });
  const bytesOf = (ids: readonly number[]): Buffer =>
    Buffer.concat(ids.map((id) => (id === tokenizer.startId ? Buffer.alloc(0) : bytes(tokenizer, id))));
  // A first token stays, whatever it is.
  const cuts = Array.from({ length: text.length - 6 }, (_, i) => i + 6).filter(
    (cut) => openLength(text.slice(0, cut)) > 0,
  );

  it('is the prompt, cut in two where a token of it begins', () => {
    for (const cut of cuts) {
      const ids = tokenizer.encode(text.slice(0, cut));
      const { ids: kept, begun } = tokenizer.heal(ids);
      expect(kept).toEqual(ids.slice(0, kept.length));
      expect(Buffer.concat([bytesOf(kept), begun?.bytes ?? Buffer.alloc(0)])).toEqual(bytesOf(ids));
    }
  });

  it('is a beginning of the tokens of the whole text, and allows the next of them', () => {
    const broken = (of: (prompt: string) => readonly number[]): number =>
      cuts.filter((cut) => of(text.slice(0, cut)).some((id, i) => whole[i] !== id)).length;
    const healedly = broken((prompt) => tokenizer.heal(tokenizer.encode(prompt)).ids);
    // Of such prompts as they are, many are none.
    expect(broken((prompt) => tokenizer.encode(prompt))).toBeGreaterThan(cuts.length / 5);
    expect(healedly).toBe(0);
    for (const cut of cuts) {
      const { ids, begun } = tokenizer.heal(tokenizer.encode(text.slice(0, cut)));
      if (begun) expect(begun.tokens.fitting(begun.bytes)).toContain(whole[ids.length]);
    }
  });

  it('lets the tokens begin that say it or a beginning of it, and no others', () => {
    const { begun } = tokenizer.heal(tokenizer.encode('class A {\n  mean() {\n    '));
    const fitting = new Set(begun!.tokens.fitting(begun!.bytes));
    const removed = Buffer.from(begun!.bytes);
    for (let id = 0; id < Math.min(tokenizer.vocabularySize, 5000); id++) {
      const own = bytes(tokenizer, id);
      const common = Math.min(own.length, removed.length);
      const fits = own.length > 0 && own.subarray(0, common).equals(removed.subarray(0, common));
      if (fitting.has(id)) expect(fits).toBe(true);
      else if (fits) expect(tokenizer.encodePlain(tokenizer.decode([id]))).not.toEqual([id]);
    }
  });

  it('is as it was where it ends in a sign, and keeps its first token', () => {
    for (const prompt of ['class A {', 'f(x);', 'a.b(']) {
      const ids = tokenizer.encode(prompt);
      expect(tokenizer.heal(ids)).toEqual({ ids, begun: null });
    }
    const ids = tokenizer.encode('functi');
    expect(tokenizer.heal(ids).ids.length).toBeGreaterThan(0);
  });
});

const bytes = (tokenizer: Tokenizer, id: number): Buffer => Buffer.from(tokenizer.tokenBytes(id));

describe('what a text ends with', () => {
  it.each([
    ['foo(', 0],
    ['a b', 1],
    ['a  ', 2],
    ['{\n    ', 5],
    ['größ', 6],
    ['$value_1', 8],
    // A sentence without blanks is no word.
    ['今日は', 0],
    ['', 0],
  ])('%j: %i bytes', (ending, length) => expect(openLength(ending)).toBe(length));

  it('is never a special token, however it is spelled', () => {
    const tokens = {
      bytesOf: (id: number) => Buffer.from(['<start>', 'ab', ' cd'][id]!),
      fitting: () => [],
      isOrdinary: (id: number) => id > 0,
    };
    expect(healed([1, 0], tokens)).toEqual({ ids: [1, 0], begun: null });
    expect(healed([1, 0, 2], tokens).ids).toEqual([1, 0]);
    // Tokens that are to stay do.
    expect(healed([1, 2, 1], tokens, 2).ids).toEqual([1, 2]);
  });
});
