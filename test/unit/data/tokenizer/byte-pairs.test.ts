import { BPE } from '@huggingface/tokenizers';
import { describe, expect, it } from 'vitest';
import { BytePairs, mergePairs } from '../../../../backend/data/tokenizer/byte-pairs.ts';
import { finish } from '../../../../backend/data/steps.ts';
import { random } from '../../../support/random.ts';

const letters = ['a', 'b', 'c', ' ', '🙂'];

/** Merges of pairs whose parts are letters or the results of earlier merges, in an order of their own. */
function someMerges(next: () => number, count: number): [string, string][] {
  const parts = [...letters];
  const pick = (): string => parts[Math.floor(next() * parts.length)]!;
  const merges = Array.from({ length: count }, (): [string, string] => {
    const pair: [string, string] = [pick(), pick()];
    parts.push(pair.join(''));
    return pair;
  });
  return merges.sort(() => next() - 0.5);
}

const wordOf = (next: () => number, length: number): string =>
  Array.from({ length }, () => letters[Math.floor(next() * letters.length)]!).join('');

describe('byte pairs', () => {
  it.each([
    { form: 'pairs', suffixes: {} },
    { form: 'texts', suffixes: {} },
    { form: 'pairs', suffixes: { end_of_word_suffix: 'c' } },
    { form: 'pairs', suffixes: { continuing_subword_suffix: '@@' } },
  ])("merges $form as the library's own model does, $suffixes", ({ form, suffixes }) => {
    const next = random(7);
    for (let round = 0; round < 40; round++) {
      const pairs = someMerges(next, 30).filter((pair) => form === 'pairs' || !pair.join('').includes(' '));
      const merges = form === 'pairs' ? pairs : pairs.map((pair) => pair.join(' '));
      const texts = [...new Set([...letters, ...pairs.map((pair) => pair.join(''))])];
      const ids = new Map(texts.map((text, id) => [text, id]));
      const model = { type: 'BPE', merges, ignore_merges: false, ...suffixes } as const;
      const theirs = new BPE({ ...model, vocab: Object.fromEntries(ids) });
      const ours = new BytePairs({ ...model, vocab: ids });
      for (let i = 0; i < 20; i++) {
        const word = wordOf(next, Math.floor(next() * 40));
        expect(ours.bpe(word), JSON.stringify({ word, merges })).toEqual(theirs.bpe(word));
        expect(ours.encode([word])).toEqual(theirs.encode([word]));
      }
    }
  });

  it('merges a word of 200,000 characters without looking at each pair again', () => {
    const ranks = new Map([
      ['a,a', 0],
      ['aa,aa', 1],
    ]);
    let lookups = 0;
    const rankOf = (left: string, right: string): number | undefined => {
      lookups++;
      return ranks.get(`${left},${right}`);
    };
    const merged = finish(mergePairs(Array.from('a'.repeat(200_000)), rankOf));
    expect(merged).toHaveLength(50_000);
    expect(new Set(merged)).toEqual(new Set(['aaaa']));
    expect(lookups).toBeLessThan(800_000);
  });
});
