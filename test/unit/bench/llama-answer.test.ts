import { describe, expect, it } from 'vitest';
import type { TextCodec } from '../../../backend/decoding/text.ts';
import { lineEnd } from '../../../backend/evaluation/tasks/ask.ts';
import { llamaAnswer, promptIds } from '../../bench/contestants/llama-answer.ts';

/** A token for each letter; 0 ends the text. */
const codec: TextCodec = {
  fim: null,
  tokenText: (id) => String.fromCodePoint(id),
  decoder: () => ({ push: (id) => String.fromCodePoint(id), flush: () => '' }),
};
const letters = (text: string): number[] => [...text].map((letter) => letter.codePointAt(0)!);

/** What llama.cpp would say, a second a token. */
function saying(text: string, asked: (readonly number[] | null)[] = []) {
  const left = [...letters(text), 0];
  return (prompt: readonly number[] | null) => {
    asked.push(prompt);
    return Promise.resolve({ token: left.shift()!, seconds: 1 });
  };
}

const form = { maxTokens: 64, stops: [], ends: [], endTokens: [] };

describe("an answer of llama.cpp's", () => {
  it('ends where the first line does that is not blank, as ours do', async () => {
    const asked: (readonly number[] | null)[] = [];
    const prompt = { ...form, ends: [lineEnd] };
    const answer = await llamaAnswer(saying('\n  x = 1\ny = 2', asked), [7, 8], prompt, codec, [0]);
    expect(answer).toEqual({ text: '\n  x = 1\n', stop: 'stop-string', tokens: 9, seconds: 8 });
    expect(asked[0]).toEqual([7, 8]);
    expect(asked.slice(1).every((each) => each === null)).toBe(true);
  });

  it('leaves out a stop string, and what may only have begun one if the text ends before it', async () => {
    const prompt = { ...form, stops: ['\ndef '] };
    expect(await llamaAnswer(saying('a\ndef b'), [1], prompt, codec, [0])).toMatchObject({ text: 'a' });
    expect(await llamaAnswer(saying('a\nde'), [1], prompt, codec, [0])).toMatchObject({ text: 'a\nde' });
  });

  it('ends with a token that ends texts, one that ends the middle, or at its length', async () => {
    expect(await llamaAnswer(saying('ab'), [1], form, codec, [0])).toMatchObject({ text: 'ab', stop: 'end-of-text' });
    const middle = { ...form, endTokens: letters('|') };
    expect(await llamaAnswer(saying('ab|c'), [1], middle, codec, [0])).toMatchObject({ text: 'ab', tokens: 2 });
    const short = { ...form, maxTokens: 2 };
    expect(await llamaAnswer(saying('abc'), [1], short, codec, [0])).toMatchObject({ text: 'ab', stop: 'length' });
  });

  it('has all of its prompt, also what was taken off ours', () => {
    const prompt = { ...form, ids: [5], choices: [] };
    expect(promptIds({ ...prompt, begun: null }, letters)).toEqual([5]);
    const begun = {
      bytes: Uint8Array.from(letters('de')),
      tokens: { bytesOf: () => new Uint8Array(), fitting: () => [] },
    };
    expect(promptIds({ ...prompt, begun }, letters)).toEqual([5, ...letters('de')]);
  });
});
