/**
 * Completing with the model that ships, which has no tokens for filling and goes on from the text before; and with a copy of it whose
 * last words are such tokens: it was not taught what they mean, but a prompt is a prompt.
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { loadTokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import { complete } from '../../../backend/recipes/complete.ts';
import { generate } from '../../../backend/recipes/generate.ts';
import { closeGenerators, openGenerator } from '../../../backend/recipes/opening/generator.ts';
import type { CompleteEvent } from '../../../protocol/events.ts';
import type { CompletionLimits } from '../../../protocol/completion.ts';
import { parseOptions } from '../../../protocol/options/options.ts';
import { shippedModel } from '../../support/golden.ts';
import { servedFiles } from '../../support/served.ts';

const fillingModel = mkdtempSync(join(tmpdir(), 'early-exit-fim-'));
cpSync(shippedModel, fillingModel, { recursive: true });
const file = JSON.parse(readFileSync(join(shippedModel, 'tokenizer.json'), 'utf8')) as {
  added_tokens: { id: number; content: string }[];
  model: { vocab: Record<string, number>; merges: (string | [string, string])[] };
};
const names = ['<|fim_prefix|>', '<|fim_suffix|>', '<|fim_middle|>', '<|file_sep|>', '<|repo_name|>'];
const firstTaken = Object.keys(file.model.vocab).length - names.length;
file.added_tokens.push(...names.map((content, i) => ({ ...file.added_tokens[0]!, id: firstTaken + i, content })));
file.model.vocab = Object.fromEntries(Object.entries(file.model.vocab).filter(([, id]) => id < firstTaken));
file.model.merges = file.model.merges.filter((merge) =>
  Object.hasOwn(file.model.vocab, (typeof merge === 'string' ? merge.split(' ') : merge).join('')),
);
writeFileSync(join(fillingModel, 'tokenizer.json'), JSON.stringify(file));
const tokenizer = loadTokenizer(fillingModel);

afterAll(async () => {
  await closeGenerators();
  rmSync(fillingModel, { recursive: true });
});

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
  model = shippedModel,
): Promise<Completed> {
  const gap = { prefix: before, suffix: '\n  return total;\n}\n', repository: '', file: 'sums.ts', chunks: [] };
  const given = { model, generate: options(), gap, limits: { ...limits, ...different } };
  for await (const event of complete(given, signal)) if (event.type === 'completed') return event;
  throw new Error('nothing was completed');
}
const textOf = ({ tokens }: Completed['suggestions'][number]): string => tokens.map(({ text }) => text).join('');

describe('a completion', () => {
  it('is the text of full depth, up to where it would repeat what stands behind', async () => {
    const { suggestions, fills } = await completed(prefix);
    expect(fills).toBe(false);
    let full = '';
    // The blank before the cursor is the model's to say: its words begin with one.
    const whole = options({ mode: 'full', maxTokens: 16, prompt: [prefix.trimEnd()] });
    for await (const event of generate(whole, new AbortController().signal)) {
      if (event.type === 'generated') full = event.texts[0]!;
    }
    const text = textOf(suggestions[0]!);
    expect(text.trim()).not.toBe('');
    expect(full.startsWith(` ${text}`)).toBe(true);
  });

  it('that repeats itself is ended', async () => {
    const { suggestions } = await completed('export const total = 1;\n'.repeat(8), { maxTokens: 64 });
    expect(suggestions[0]!.stop).toBe('repetition');
    expect(textOf(suggestions[0]!).trimEnd().split('\n').length).toBe(1);
  });

  it('reads only what is new of a text that it has seen', async () => {
    await closeGenerators();
    const first = await completed(prefix);
    expect(first.rememberedTokens).toBe(0);
    const typed = textOf(first.suggestions[0]!).slice(0, 3);
    const second = await completed(prefix + typed);
    expect(second.rememberedTokens).toBeGreaterThan(first.promptTokens - 4);
    // Another text between them takes nothing away.
    await completed('import { readFile } from "node:fs";\nconst text = ');
    expect((await completed(prefix)).rememberedTokens).toBe(first.promptTokens);
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

  it('is a whole line once half of its time is over', async () => {
    const [whole] = (await completed(prefix, { maxTokens: 200 })).suggestions;
    let looks = 0;
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => (looks++ === 0 ? 0 : 40_000));
    const [line] = (await completed(prefix, { maxTokens: 200 })).suggestions;
    clock.mockRestore();
    expect(line!.stop).toBe('cancelled');
    const text = textOf(line!);
    expect(text.slice(0, text.lastIndexOf('\n')).trim()).not.toBe('');
    expect(text.trimEnd()).not.toContain('\n');
    expect(textOf(whole!).startsWith(text.trimEnd())).toBe(true);
    expect(textOf(whole!).length).toBeGreaterThan(text.length);
  });

  it('says nothing where its prompt is read ahead, and finds it read', async () => {
    // The first that the model is asked for: what is kept for it has to be enough for the suggestion, too.
    await closeGenerators();
    const other = prefix.replaceAll('value', 'item');
    const short = { prefixTokens: 100 };
    const { suggestions, promptTokens } = await completed(other, { ...short, suggestions: 0 });
    expect(suggestions).toEqual([]);
    expect(await completed(other, short)).toMatchObject({ promptTokens, rememberedTokens: promptTokens });
  });

  it('encodes a text once, also on a model that is cut at exits for other requests', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'early-exit-cut-'));
    const { signal } = new AbortController();
    const place = await servedFiles(folder);
    await closeGenerators();
    const cut = await openGenerator(options({ ...place, mode: 'lossless' }), signal);
    const encode = vi.spyOn(cut.tokenizer, 'encodePlain');
    await completed(prefix, {}, signal, place.model);
    const { length } = encode.mock.calls;
    expect(length).toBeGreaterThan(0);
    await completed(prefix, {}, signal, place.model);
    expect(encode).toHaveBeenCalledTimes(length);
    await closeGenerators();
    rmSync(folder, { recursive: true });
  });

  it('that no request waits for is cancelled within a token', async () => {
    const stopped = new AbortController();
    let checks = 0;
    Object.defineProperty(stopped.signal, 'aborted', { get: () => ++checks > 4 });
    const [suggestion] = (await completed(prefix, { maxTokens: 200 }, stopped.signal)).suggestions;
    expect(suggestion!.stop).toBe('cancelled');
    expect(suggestion!.tokens.length).toBeLessThan(40);
    expect((await completed(prefix)).suggestions[0]!.tokens.length).toBeGreaterThan(0);
  });
});

describe('a completion that fills', () => {
  const filled = (before: string, different: Partial<CompletionLimits> = {}): Promise<Completed> =>
    completed(before, different, undefined, fillingModel);

  it('sees what stands behind, and says so', async () => {
    const { fills, promptTokens } = await filled(prefix);
    expect(fills).toBe(true);
    expect(promptTokens).toBeGreaterThan((await completed(prefix)).promptTokens);
  });

  it('goes on with the word that is begun, by a token that begins with it', async () => {
    let wholeWords = 0;
    for (const begun of ['  tot', '  const va', '  ret', '  fo']) {
      const [suggestion] = (await filled(prefix + begun)).suggestions;
      const [first] = suggestion!.tokens;
      const tokenText = tokenizer.tokenText(first!.id);
      expect(tokenText.endsWith(first!.text)).toBe(true);
      expect(begun.endsWith(tokenText.slice(0, tokenText.length - first!.text.length))).toBe(true);
      if (tokenText.length > first!.text.length) wholeWords++;
    }
    expect(wholeWords).toBeGreaterThan(0);
  });

  it('has several that go on with it', async () => {
    const { suggestions } = await filled(`${prefix}  t`, { suggestions: 3 });
    expect(suggestions.length).toBeGreaterThan(1);
    expect(
      new Set(
        suggestions.map(({ tokens }) =>
          tokens
            .slice(0, 2)
            .map(({ id }) => id)
            .join(),
        ),
      ).size,
    ).toBe(suggestions.length);
  });

  it('reads what was typed and nothing else', async () => {
    const before = await filled(`${prefix}total += value;\n  `);
    const after = await filled(`${prefix}total += value;\n  const mean = total / `);
    expect(after.rememberedTokens).toBeGreaterThanOrEqual(before.promptTokens - 2);
    expect(after.promptTokens - after.rememberedTokens).toBeLessThan(16);
  });
});
