/** What every exit predicted, read behind a text: the same as if it had been read with each token, and without taking tokens deeper. */
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { generate } from '../../../../backend/recipes/generate.ts';
import { closeGenerators } from '../../../../backend/recipes/opening/generator.ts';
import { parseOptions } from '../../../../protocol/options/options.ts';
import type { ExitOpinion, TokenRecord } from '../../../../protocol/trace.ts';
import { shippedModel } from '../../../support/golden.ts';

afterAll(closeGenerators);

const shown = 3;
/** The last one ends inside a word, which is taken back and written again. */
const prompts = ['export function add(', '/** The sum. */\nconst total = val'];

interface Written {
  readonly tokens: TokenRecord[][];
  /** Of each text. */
  readonly explained: ExitOpinion[][][];
  readonly order: string[];
}

/** `stop`: ends the texts at their first token. */
async function written(given: Record<string, unknown>, explained: number, stop?: AbortController): Promise<Written> {
  const exits = join(shippedModel, 'exits');
  const all = { model: shippedModel, exits, device: 'cpu', prompt: prompts, maxTokens: 24, stopRepetition: false };
  const options = { ...parseOptions('generate', { ...all, ...given }), explained };
  const found: Written = { tokens: prompts.map(() => []), explained: prompts.map(() => []), order: [] };
  for await (const event of generate(options, (stop ?? new AbortController()).signal)) {
    if (event.type === 'token') found.tokens[event.token.sequence]!.push(event.token);
    else if (event.type === 'explained') found.explained[event.sequence] = event.opinions;
    if (event.type === 'token') stop?.abort();
    if (found.order.at(-1) !== event.type) found.order.push(event.type);
  }
  return found;
}

/** What is told of a place. Sums over the vocabulary are rounded differently in passes of several tokens. */
const told = ({ exit, layer, confidence, token, candidates }: ExitOpinion) => ({
  ...{ exit, layer, token: token?.id, candidates: candidates.map(({ id }) => id) },
  confidence: Number(confidence.toFixed(4)),
});
const near = (opinion: ExitOpinion) => ({
  ...told(opinion),
  confidence: expect.closeTo(opinion.confidence, 3) as unknown,
});

describe.each(['full', 'lossless'])('in %s', (mode) => {
  it('says what exits say that are read with each token', async () => {
    const { tokens } = await written({ mode, candidates: shown }, 0);
    const { explained } = await written({ mode }, shown);
    expect(tokens.flat().length).toBeGreaterThan(2 * prompts.length);
    const read = tokens.map((text) => text.map(({ opinions }) => opinions!.map(near)));
    expect(explained.map((text) => text.map((place) => place.map(told)))).toEqual(read);
  });
});

it('leaves texts and layers as they are, tells of the exit at which a token left, and comes behind the text', async () => {
  const fast = { mode: 'fast', threshold: '0.3', drafts: 0 };
  const { tokens } = await written(fast, 0);
  const { tokens: same, explained, order } = await written(fast, shown);
  expect(same).toEqual(tokens);
  const left = tokens.flatMap((text, row) => text.map((token, at) => ({ token, place: explained[row]![at]! })));
  expect(new Set(left.map(({ token }) => token.exit)).size).toBeGreaterThan(1);
  for (const { token, place } of left) {
    expect(place.map(({ layer }) => layer)).toEqual([8, 10, 11, 12]);
    const opinion = place.find(({ exit }) => exit === token.exit)!;
    if (token.exit !== 'final') expect(opinion.token).toMatchObject({ id: token.id });
    if (opinion.token?.id === token.id) expect(opinion.confidence).toBe(token.confidence);
  }
  expect(order.slice(-2)).toEqual(['generated', 'explained']);
});

it('tells nothing of a text that was stopped', async () => {
  const stop = new AbortController();
  const { tokens, order } = await written({}, shown, stop);
  expect(tokens.flat().length).toBeGreaterThan(0);
  expect(tokens.flat().length).toBeLessThan(48);
  expect(order).not.toContain('explained');
});
