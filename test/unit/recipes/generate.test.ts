/** Generating with the model that ships: at a cursor, and what ends a text. */
import { afterAll, describe, expect, it } from 'vitest';
import type { GenerateEvent } from '../../../protocol/events.ts';
import type { Gap } from '../../../protocol/completion.ts';
import { parseOptions } from '../../../protocol/options/options.ts';
import { generate, timesFullDepth } from '../../../backend/recipes/generate.ts';
import { closeGenerators } from '../../../backend/recipes/opening/generator.ts';
import { lineTokens } from '../../../backend/recipes/writing/place-end.ts';
import { shippedModel } from '../../support/golden.ts';

afterAll(closeGenerators);

type Generated = Extract<GenerateEvent, { type: 'generated' }>;

async function generated(given: Record<string, unknown>, gap?: Gap): Promise<Generated> {
  const options = parseOptions('generate', { model: shippedModel, device: 'cpu', prompt: [''], ...given });
  for await (const event of generate({ ...options, ...(gap && { gap }) }, new AbortController().signal))
    if (event.type === 'generated') return event;
  throw new Error('nothing was generated');
}
const place = (text: string): Gap => {
  const [prefix = '', suffix = ''] = text.split('|');
  return { prefix, suffix, repository: '', file: 'statistics.ts', chunks: [] };
};

const body = `class Statistics {
  constructor(private readonly values: number[]) {}

  mean() {
    |
  }
}
`;

describe('at a cursor', () => {
  it('a text begins at its indent and ends inside the block around', async () => {
    const { texts, stops } = await generated({ maxTokens: 60 }, place(body));
    const [text] = texts;
    expect(text!.trim()).not.toBe('');
    for (const line of `    ${text}`.split('\n').filter((each) => each.trim() !== '')) {
      expect(line).toMatch(/^( {2}){2,}\S/);
    }
    expect(text).toBe(text!.trimEnd());
    expect(['block-end', 'repetition', 'length']).toContain(stops[0]);
  });

  it('a text that reaches its limit goes on to the end of its line', async () => {
    const { texts, stops, tokens } = await generated({ maxTokens: 3 }, place(body));
    if (stops[0] === 'length') expect(tokens).toBeGreaterThanOrEqual(3);
    expect(tokens).toBeLessThanOrEqual(3 + lineTokens);
    expect(texts[0]).not.toMatch(/[,(=+]$/);
  });
});

it('tells how fast it was beside full depth, of what was no full depth, long enough and not the first text', async () => {
  await closeGenerators();
  const options = { mode: 'lossless', maxTokens: 40, prompt: ['export interface Options {'] };
  expect((await generated(options)).speedup).toBeNull();
  const lossless = await generated(options);
  expect(lossless.speedup).toBeGreaterThan(0.2);
  expect(lossless.speedup).toBeLessThan(24);
  expect((await generated({ mode: 'full', maxTokens: 24, prompt: ['export'] })).speedup).toBeNull();
  expect((await generated({ mode: 'lossless', maxTokens: 16, prompt: ['export'] })).speedup).toBeNull();
});

it('counts no token of a text that is written while the prompt of another is still read', async () => {
  const prompt = ['export interface Options {', 'export const total = 1;\n'.repeat(50)];
  const options = { mode: 'lossless', maxTokens: 11, prompt, stopRepetition: false };
  await generated({ ...options, prompt: ['export'] });
  const { tokens, promptTokens, speedup } = await generated(options);
  expect(promptTokens).toBeGreaterThan(2 * 128);
  expect(tokens).toBe(22);
  // Fewer than twenty are left.
  expect(speedup).toBeNull();
});

it('what a shared machine takes beside the passes counts at full depth, too', () => {
  expect(timesFullDepth({ seconds: 3, passes: 2, full: 2 })).toBe(1);
  expect(timesFullDepth({ seconds: 3, passes: 2, full: 3.5 })).toBe(1.5);
  expect(timesFullDepth({ seconds: 2, passes: 2, full: 3 })).toBe(1.5);
});

it('a text that repeats itself is ended with a word', async () => {
  const line = 'export const total = 1;\n';
  const { texts, stops } = await generated({ prompt: [line.repeat(8)], maxTokens: 200 });
  expect(stops).toEqual(['repetition']);
  expect(texts[0]!.split('\n').length).toBeLessThan(12);
  const asked = await generated({ prompt: [line.repeat(8)], maxTokens: 60, stopRepetition: false });
  expect(asked.stops).toEqual(['length']);
});
