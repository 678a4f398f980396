/** Prompts of gaps over a tokenizer whose tokens are characters: budgets, steps, and what stands where. */
import { describe, expect, it } from 'vitest';
import {
  gapPrompt,
  rememberingTokenizer,
  splitPrefix,
  steadyLength,
} from '../../../../backend/data/prompts/gap-prompt.ts';
import { healed, type Begun } from '../../../../backend/data/prompts/healing.ts';
import type { FimTokenizer, FimTokens } from '../../../../backend/data/prompts/fim.ts';

const fim: FimTokens = {
  prefix: 1000,
  suffix: 1001,
  middle: 1002,
  repository: 1003,
  file: 1004,
  ends: [1005],
  order: 'prefix-first',
};
const codes = (text: string): number[] => [...text].map((sign) => sign.charCodeAt(0));
const tokenizer = (tokens: FimTokens | null, startId: number | null = null): FimTokenizer => ({
  path: 'tokenizer.json',
  fim: tokens,
  startId,
  encodePlain: codes,
  encodeInside: codes,
  heal: (ids, fixed) => healed(ids, characters, fixed),
});
const characters = {
  bytesOf: (id: number) => Buffer.from(marks[id] ?? String.fromCharCode(id)),
  fitting: () => [],
  isOrdinary: (id: number) => id < 1000,
};
const begunText = ({ begun }: { begun: Begun | null }): string => Buffer.from(begun?.bytes ?? []).toString();
const marks: Record<number, string> = { 1000: '<pre>', 1001: '<suf>', 1002: '<mid>', 1003: '<repo>', 1004: '<file>' };
const textOf = (ids: readonly number[]): string => ids.map((id) => marks[id] ?? String.fromCharCode(id)).join('');

const gap = { prefix: 'before', suffix: 'after', repository: 'r', file: 'f.ts', chunks: [] };
const limits = {
  prefixTokens: 400,
  suffixTokens: 100,
  chunkTokens: 400,
  maxTokens: 10,
  maxMilliseconds: 1,
  suggestions: 1,
};
const wide = { ...limits, prefixTokens: 4000 };

describe('a model with tokens for it', () => {
  it('gets repository, other files, the file, prefix and suffix, in this order', () => {
    const chunks = [{ file: 'a.ts', text: 'let a;' }];
    const { ids, fills, ends } = gapPrompt(tokenizer(fim), { ...gap, chunks }, limits, 4096);
    expect(textOf(ids)).toBe('<repo>r\n<file>a.ts\nlet a;<file>f.ts\n<pre><suf>after<mid>');
    expect({ fills, ends }).toEqual({ fills: true, ends: [1005] });
    expect(textOf(gapPrompt(tokenizer(fim), gap, limits, 4096).ids)).toBe('<pre><suf>after<mid>');
  });

  it('has what is being written behind the suffix, and the word or indent that is begun is left to it', () => {
    const settled = Array.from({ length: 32 }, (_, i) => `line ${i}\n`).join('');
    const prompt = gapPrompt(tokenizer(fim), { ...gap, prefix: `${settled}a\nb.co` }, wide, 4096);
    expect(textOf(prompt.ids)).toMatch(/<pre>line 0\n[^<]*line 15\n<suf>after<mid>line 16\n[^<]*line 31\na\nb\.$/);
    expect(begunText(prompt)).toBe('co');
    const all = ['', 'a', 'foo(', '  ', 'a\n\t', `${settled}x =`, `${settled}${settled}return to`, 'x'.repeat(50)];
    for (const prefix of all) {
      const split = splitPrefix(prefix);
      expect(split.settled + split.begun).toBe(prefix);
    }
    const linesBegun = Array.from({ length: 80 }, (_, i) => splitPrefix('\n'.repeat(i)).begun.length);
    expect(linesBegun.every((count, i) => count <= 31 && count >= Math.min(i, 16))).toBe(true);
    const begun = ['a.b', 'a = b', 'foo(', 'a\n    ', '// é'].map((prefix) =>
      begunText(gapPrompt(tokenizer(fim), { ...gap, prefix }, wide, 4096)),
    );
    expect(begun).toEqual(['b', 'b', '', '\n    ', 'é']);
  });

  it('loses nothing of long lines that are being written: what is too much for the middle stands before the suffix', () => {
    const long = Array.from({ length: 12 }, (_, i) => `${'abcdefghi '.repeat(5)}${i}\n`).join('');
    const { ids } = gapPrompt(tokenizer(fim), { ...gap, prefix: long }, wide, 4096);
    const [, before, middle] = /<pre>([^<]+)<suf>after<mid>([^<]+)$/.exec(textOf(ids))!;
    expect(`${before}${middle}`).toBe(long);
    expect(middle!.length).toBeLessThanOrEqual(512);
  });

  it('gets the same prompt and more while one types', () => {
    const settled = Array.from({ length: 20 }, (_, i) => `line ${i}\n`).join('');
    const idsOf = (typed: string) => gapPrompt(tokenizer(fim), { ...gap, prefix: settled + typed }, wide, 4096).ids;
    const before = idsOf('return ');
    for (const typed of ['return a', 'return a + b', 'return a + b;\n}\n'])
      expect(idsOf(typed).slice(0, before.length)).toEqual(before);
  });

  it('is asked for one line where the line goes on behind the gap', () => {
    const stops = (suffix: string) => gapPrompt(tokenizer(fim), { ...gap, suffix }, limits, 4096).stops;
    expect([stops(' + b;\n}'), stops(');\n}'), stops('\nfoo')]).toEqual([['\n'], [], []]);
  });

  it('sees no more than its budgets and its context hold', () => {
    const long = { ...gap, prefix: '¶¶¶¶\n'.repeat(1000), suffix: '§'.repeat(5000) };
    const count = (text: string, sign: string): number => text.split(sign).length - 1;
    const wide = textOf(gapPrompt(tokenizer(fim), long, limits, 4096).ids);
    expect([count(wide, '§'), count(wide, '¶')]).toEqual([100, 240]);
    for (const context of [160, 300, 512]) {
      expect(gapPrompt(tokenizer(fim), long, limits, context).ids.length + limits.maxTokens).toBeLessThan(context);
    }
  });

  it('loses the oldest chunks first, whole', () => {
    const chunks = Array.from({ length: 10 }, (_, i) => ({ file: `${i}`, text: `${i}`.repeat(84) }));
    const text = textOf(gapPrompt(tokenizer(fim), { ...gap, chunks }, limits, 4096).ids);
    expect(text).toMatch(/^<repo>r\n<file>/);
    const shown = [...text.matchAll(/<file>(\d)\n/g)].map(([, name]) => Number(name));
    expect(shown.at(-1)).toBe(9);
    expect(shown.length).toBeLessThanOrEqual(4);
    expect(shown.length).toBeGreaterThanOrEqual(3);
  });
});

it('a model without such tokens sees the text before, its beginning included, up to the word that is begun', () => {
  const prompt = gapPrompt(tokenizer(null, 7), { ...gap, prefix: 'let total = bef' }, limits, 4096);
  const { ids, fills, stops } = prompt;
  const shown = [ids[0], textOf(ids.slice(1)), begunText(prompt), fills, stops];
  expect(shown).toEqual([7, 'let total = ', 'bef', false, ['\n\n']]);
  expect(textOf(gapPrompt(tokenizer(null), { ...gap, prefix: '' }, limits, 4096).ids)).toBe('\n');
});

it('what is kept of a growing text begins at the same token for a while', () => {
  const starts = new Set<number>();
  for (let total = 401; total <= 1200; total++) {
    const kept = steadyLength(total, 400);
    expect(kept).toBeLessThanOrEqual(400);
    expect(kept).toBeGreaterThan(300 - 1);
    starts.add(total - kept);
  }
  expect(starts.size).toBe(8);
  expect(steadyLength(400, 400)).toBe(400);
});

it('a text is encoded once each way', () => {
  let encoded = 0;
  const counted = (text: string): number[] => (encoded++, codes(text));
  const counting = { ...tokenizer(fim), encodePlain: counted, encodeInside: counted };
  const remembering = rememberingTokenizer(counting);
  for (let i = 0; i < 3; i++)
    expect([remembering.encodePlain('abc'), remembering.encodeInside('abc')]).toEqual([codes('abc'), codes('abc')]);
  expect(encoded).toBe(2);
});

describe('what is given beside the prompt', () => {
  const chunks = ['a', 'b', 'c'].map((name) => ({ file: `${name}.ts`, text: `${name} `.repeat(80) }));
  const othersOf = (of: FimTokenizer, prefix: string, suffix: string) =>
    gapPrompt(of, { ...gap, prefix, suffix, chunks }, limits, 4096).others.map(textOf);

  it('are pieces for which there was no room, and the whole of what was cut', () => {
    expect(othersOf(tokenizer(fim), 'before', 'after')).toEqual([chunks[0]!.text, chunks[1]!.text]);
    const [prefix, suffix] = ['line\n'.repeat(160), 'x'.repeat(101)];
    const settled = prefix.slice(0, 'line\n'.length * 144);
    expect(othersOf(tokenizer(fim), prefix, suffix)).toEqual([chunks[0]!.text, chunks[1]!.text, suffix, settled]);
  });
  it('are pieces of which only the end is shown', () => {
    const long = [chunks[0]!, { file: 'long.ts', text: 'abcdefghij'.repeat(100) }];
    const { ids, others } = gapPrompt(tokenizer(fim), { ...gap, chunks: long }, limits, 4096);
    expect(textOf(ids)).toMatch(/^[a-j]{300,456}<file>f\.ts\n<pre>/);
    expect(others.map(textOf)).toEqual(long.map(({ text }) => text));
    const none = gapPrompt(tokenizer(fim), { ...gap, chunks: long }, { ...limits, chunkTokens: 0 }, 4096);
    expect(textOf(none.ids)).toBe('<pre><suf>after<mid>');
    expect(none.others.map(textOf)).toEqual(long.map(({ text }) => text));
  });
  it('is only the text before, if the model gets nothing else', () => {
    const texts = [...chunks.map(({ text }) => text), 'after'];
    expect(othersOf(tokenizer(null), 'before', 'after')).toEqual(texts);
  });
});
