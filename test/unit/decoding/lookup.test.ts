/** Drafts of texts: what most often followed, in bounded time and memory; and that what loses is not drafted. */
import { describe, expect, test } from 'vitest';
import { draft, learn, textDrafts } from '../../../backend/decoding/drafts/draft.ts';
import type { Choice } from '../../../backend/decoding/block.ts';
import type { KvCache } from '../../../backend/decoding/cache/kv-cache.ts';
import { longestMatch, lookupIndex } from '../../../backend/data/lookup.ts';
import { newPace, type Pace } from '../../../backend/decoding/drafts/pace.ts';
import { seededRandom } from '../../../backend/decoding/sampling/random.ts';
import type { Sequence } from '../../../backend/decoding/sequence.ts';
import type { StagedModel } from '../../../backend/runtime/staged-model.ts';

/** Of an index that has these tokens. */
const proposed = (tokens: readonly number[], limit: number, others: readonly (readonly number[])[] = []) => {
  const index = lookupIndex(others);
  index.add(tokens);
  return index.propose(limit);
};
const tokensOf = (...parameters: Parameters<typeof proposed>) => proposed(...parameters).map(({ token }) => token);

describe('what is proposed', () => {
  test('followed the longest end that stood there before', () => {
    expect(proposed([1, 2, 3, 4, 5, 9, 2, 3, 7, 1, 2, 3], 4)).toEqual(
      [4, 5, 9, 2].map((token, n) => ({ token, matched: 3 + n, votes: 1, places: 1 })),
    );
  });
  test('goes round where the text repeats itself', () => {
    expect(tokensOf([5, 6, 5, 6, 5, 6], 5)).toEqual([5, 6, 5, 6, 5]);
  });
  test('is nothing of a text that is new', () => expect(proposed([1, 2, 3, 4], 4)).toEqual([]));
  test('is what followed most often where the end stood in several places, and says so', () => {
    const text = [1, 2, 7, 0, 1, 2, 8, 9, 1, 2, 8, 9, 1, 2, 6, 0].flatMap((id) => (id === 1 ? [30 + id, 1] : [id]));
    const [first] = proposed([...text.slice(0, -3), 31, 1, 2], 1);
    expect(first).toMatchObject({ token: 8, votes: 2 });
  });
  test('of equally frequent tokens is the latest', () => {
    expect(tokensOf([1, 2, 7, 1, 2, 8, 3, 1, 2], 1)).toEqual([8]);
  });
  test('counts the places that agree so far alone', () => {
    const guesses = proposed([1, 2, 3, 4, 1, 2, 3, 5, 1, 2, 3, 5, 0, 1, 2], 2);
    expect(guesses.map(({ token, votes, places }) => [token, votes, places])).toEqual([
      [3, 3, 3],
      [5, 2, 3],
    ]);
  });
  test('comes out of other texts too, and never runs from one into the next', () => {
    expect(tokensOf([1, 2], 8, [[7, 1, 2, 3, 4], [9]])).toEqual([3, 4]);
    expect(tokensOf([4, 9], 8, [[4], [9, 5]])).toEqual([]);
  });
});

describe('an index', () => {
  const random = seededRandom(3);
  const long = Array.from({ length: 200_000 }, () => Math.floor(random() * 40));

  test('takes no longer for a token of a long text', () => {
    const timeOf = (text: readonly number[]): number => {
      const index = lookupIndex();
      index.add(text);
      const started = performance.now();
      for (let n = 0; n < 300; n++) index.add([index.propose(8)[0]!.token]);
      return performance.now() - started;
    };
    const same = (length: number): number[] => new Array<number>(length).fill(5);
    timeOf(same(1000));
    expect(timeOf(same(200_000))).toBeLessThan(30 * timeOf(same(1000)) + 100);
  });
  test('keeps only the end of other texts', () => {
    expect(tokensOf([1001, 1002], 1, [[1001, 1002, 1003], long])).toEqual([]);
    expect(tokensOf([1001, 1002], 1, [long, [1001, 1002, 1003]])).toEqual([1003]);
  });
  test('tells matches apart up to a length', () => {
    const text = Array.from({ length: 40 }, (_, i) => i);
    expect(proposed([...text, ...text.slice(0, 30)], 1)[0]).toMatchObject({ token: 30, matched: longestMatch });
  });
});

describe('drafts', () => {
  const model = {
    spec: { layers: [], contextLength: 100_000, vocabulary: 1000 },
    stages: [{ parent: null, from: { layer: 0 }, to: { layer: 10 } }],
    exits: [{ id: 'final', layer: 10, stages: 1, reads: 0, spec: null }],
  } as unknown as StagedModel;
  /** A pass of two tokens costs this many times one. */
  const paceWith = (two: number) => {
    const ratios = [
      [1, 1],
      [2, two],
    ] as const;
    return warm(newPace(model, { layers: ratios, readings: ratios }));
  };
  /** Tokens were decided one by one. */
  const warm = (pace: Pace): Pace => {
    for (let n = 0; n < 3; n++) {
      pace.measured(0, 1, 8);
      pace.measured(-1, 1, 2);
      pace.decided(1, 10);
    }
    return pace;
  };
  const cache = { position: () => 100, enter: () => undefined } as unknown as KvCache;
  /** Numbers of drafts at each token of a text that is decided a token at a time. */
  const draftsOf = async (
    text: readonly number[],
    pace = paceWith(1.3),
    trust = new Map<string, unknown>(),
    length = Infinity,
    maxTokens = Infinity,
    others: readonly (readonly number[])[] = [],
  ) => {
    const lookup = lookupIndex(others);
    const options = { drafts: textDrafts(8), enabled: () => false, trust, maxTokens };
    const sequence = { lookup, begun: null, allowed: null, options, count: 0 };
    const counts: number[] = [];
    for (const token of text) {
      learn(pace, sequence as unknown as Sequence, [{ token } as Choice]);
      const [drafted] = await draft(model, cache, pace, [sequence as unknown as Sequence], [length]);
      counts.push(drafted!.length);
      pace.decided(1, 10);
    }
    return counts;
  };
  /** Pairs come again and again, and never with the same token behind them. */
  const losing = Array.from({ length: 200 }, (_, i) => [1, 2, 100 + i]).flat();

  test.each([1.15, 1.3, 1.8])('that lose are given up within 32 tokens where a pass of two costs %d', async (two) => {
    const counts = await draftsOf(losing, paceWith(two));
    expect(counts.slice(32).reduce((sum, count) => sum + count)).toBe(0);
  });
  test('that lose are hardly tried where nothing is known of this machine', async () => {
    const counts = await draftsOf(losing, warm(newPace(model)));
    expect(counts.filter((count) => count > 0).length).toBeLessThan(3);
  });
  test.each([
    ['win', 9, true],
    ['lose', 2, false],
  ])('%s where what the text foretells takes %d of 10 ms by itself, since hints are trusted', async (_, each, wins) => {
    const repeating = Array.from({ length: 120 }, (__, i) => 10 + (i % 12));
    const pace = paceWith(1.3);
    const trust = new Map([['4:lens', {}]]);
    expect(Math.max(...(await draftsOf(repeating, pace, trust)))).toBe(0);
    for (let n = 0; n < 20; n++) pace.foretold(each);
    expect(Math.min(...(await draftsOf(repeating, pace, trust)).slice(60)) > 0).toBe(wins);
  });
  test('end with the text, which may be shorter than what the model sees', async () => {
    const repeating = Array.from({ length: 120 }, (_, i) => 10 + (i % 12));
    expect(Math.max(...(await draftsOf(repeating, paceWith(1.3), new Map(), 102)))).toBe(1);
    expect(Math.max(...(await draftsOf(repeating, paceWith(1.3), new Map(), 101)))).toBe(0);
  });
  test('end before a token that the model has no row for, as texts of other files may have one', async () => {
    const text = Array.from({ length: 90 }, (_, i) => 10 + i);
    const lastCounts = async (marker: number): Promise<number[]> => {
      const others = [[...text, marker, 1, 2, 3, 4, 5, 6, 7, 8]];
      return (await draftsOf(text, paceWith(1.3), new Map(), Infinity, Infinity, others)).slice(-4);
    };
    expect(await lastCounts(999)).toEqual([8, 8, 8, 8]);
    expect(await lastCounts(1000)).toEqual([3, 2, 1, 0]);
  });
  test('end with the tokens that are asked for', async () => {
    const repeating = Array.from({ length: 120 }, (_, i) => 10 + (i % 12));
    expect(Math.max(...(await draftsOf(repeating, paceWith(1.3), new Map(), Infinity, 4)))).toBe(3);
    expect(Math.max(...(await draftsOf(repeating, paceWith(1.3), new Map(), Infinity, 1)))).toBe(0);
  });
  test('that win are taken where nothing is known of this machine', async () => {
    const counts = await draftsOf(
      Array.from({ length: 120 }, (_, i) => 10 + (i % 12)),
      warm(newPace(model)),
    );
    expect(Math.min(...counts.slice(60))).toBeGreaterThan(0);
  });
  test('that win are taken as soon as the text repeats itself, though none was tried', async () => {
    const counts = await draftsOf(
      Array.from({ length: 120 }, (_, i) => 10 + (i % 12)),
      paceWith(1.6),
    );
    expect(Math.max(...counts.slice(0, 12))).toBe(0);
    expect(Math.min(...counts.slice(60))).toBeGreaterThan(0);
    expect(counts.at(-1)).toBe(8);
  });
});
