/** Completing with the model that ships: it has no tokens for filling, so it goes on from the text before. */
import { afterAll, describe, expect, it } from 'vitest';
import { complete } from '../../../backend/recipes/complete.ts';
import { generate } from '../../../backend/recipes/generate.ts';
import { releaseGenerator } from '../../../backend/recipes/generator.ts';
import type { CompleteEvent } from '../../../protocol/events.ts';
import type { CompletionLimits } from '../../../protocol/completion.ts';
import { parseOptions } from '../../../protocol/options.ts';
import { shippedModel } from '../../support/golden.ts';

afterAll(() => releaseGenerator());

const prefix = `/** Adds up a list of numbers. */
export function sum(values: readonly number[]): number {
  let total = 0;
  for (const value of values) `;
const options = (different: Record<string, unknown> = {}) =>
  parseOptions('generate', { model: shippedModel, prompt: [prefix], device: 'cpu', ...different });
const limits: CompletionLimits = {
  prefixTokens: 300,
  suffixTokens: 64,
  chunkTokens: 0,
  maxTokens: 16,
  maxMilliseconds: 60_000,
  suggestions: 1,
};
type Completed = Extract<CompleteEvent, { type: 'completed' }>;

async function completed(
  before: string,
  different: Partial<CompletionLimits> = {},
  signal = new AbortController().signal,
): Promise<Completed> {
  const gap = { prefix: before, suffix: '\n  return total;\n}\n', repository: '', file: 'sums.ts', chunks: [] };
  const given = { model: shippedModel, generate: options(), gap, limits: { ...limits, ...different } };
  for await (const event of complete(given, signal)) if (event.type === 'completed') return event;
  throw new Error('nothing was completed');
}
const textOf = ({ tokens }: Completed['suggestions'][number]): string => tokens.map(({ text }) => text).join('');

describe('a completion', () => {
  it('is the text of full depth, up to where it would repeat what stands behind', async () => {
    const { suggestions, fills } = await completed(prefix);
    expect(fills).toBe(false);
    let full = '';
    for await (const event of generate(options({ mode: 'full', maxTokens: 16 }), new AbortController().signal)) {
      if (event.type === 'generated') full = event.texts[0]!;
    }
    const text = textOf(suggestions[0]!);
    expect(text.trim()).not.toBe('');
    expect(full.startsWith(text)).toBe(true);
  });

  it('reads only what is new of a text that it has seen', async () => {
    const first = await completed(prefix);
    const typed = textOf(first.suggestions[0]!).slice(0, 3);
    const second = await completed(prefix + typed);
    expect(second.rememberedTokens).toBeGreaterThan(first.promptTokens - 4);
    // Another text between them takes nothing away.
    await completed('import { readFile } from "node:fs";\nconst text = ');
    expect((await completed(prefix)).rememberedTokens).toBe(first.promptTokens - 1);
  });

  it('has several that begin with different tokens, the likeliest first', async () => {
    const { suggestions } = await completed(prefix, { suggestions: 3 });
    expect(suggestions).toHaveLength(3);
    const firsts = suggestions.map(({ tokens }) => tokens[0]!);
    expect(new Set(firsts.map(({ id }) => id)).size).toBe(3);
    const probabilities = firsts.map(({ confidence }) => confidence);
    expect(probabilities).toEqual([...probabilities].sort((a, b) => b - a));
    const [only] = (await completed(prefix)).suggestions;
    expect(textOf(suggestions[0]!)).toBe(textOf(only!));
  });

  it('is what there is once its time is over, but for the first word', async () => {
    const [suggestion] = (await completed(prefix, { maxTokens: 200, maxMilliseconds: 0 })).suggestions;
    expect(suggestion!.stop).toBe('cancelled');
    expect(suggestion!.tokens.length).toBeLessThan(16);
    expect(textOf(suggestion!).trim()).not.toBe('');
  });

  it('says nothing where its prompt is read ahead, and finds it read', async () => {
    const other = `${prefix.replaceAll('value', 'item')}`;
    const ahead = await completed(other, { maxTokens: 0 });
    expect(ahead.suggestions.flatMap(({ tokens }) => tokens)).toEqual([]);
    expect((await completed(other)).rememberedTokens).toBe(ahead.promptTokens - 1);
  });

  it('that nobody waits for is left within a token', async () => {
    const stopped = new AbortController();
    let asked = 0;
    Object.defineProperty(stopped.signal, 'aborted', { get: () => ++asked > 4 });
    const [suggestion] = (await completed(prefix, { maxTokens: 200 }, stopped.signal)).suggestions;
    expect(suggestion!.stop).toBe('cancelled');
    expect(suggestion!.tokens.length).toBeLessThan(40);
    expect((await completed(prefix)).suggestions[0]!.tokens.length).toBeGreaterThan(0);
  });
});
