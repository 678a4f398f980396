/** What the text says of its next token, and how that changes how sure an exit is. */
import { describe, expect, test } from 'vitest';
import { newHints, type Hint } from '../../../../backend/data/hints.ts';
import {
  agreementWith,
  hinted,
  logOdds,
  raised,
  type HintWeights,
} from '../../../../backend/decoding/leaving/hints.ts';
import { seededRandom } from '../../../../backend/decoding/sampling/random.ts';
import type { Readout } from '../../../../backend/runtime/staged-model.ts';

const hintOf = (text: readonly number[]) => newHints(text).next([])[0];

describe('a hint', () => {
  test('is the token that followed the same words before', () => {
    expect(hintOf([1, 2, 7, 9, 1, 2])).toEqual({ token: 7, matched: 2, votes: 1, isClear: false });
    expect(hintOf([1, 2, 3, 7, 9, 1, 2, 3])).toEqual({ token: 7, matched: 3, votes: 1, isClear: true });
    expect(hintOf([1, 2, 3, 4])).toBeNull();
  });

  test('is not clear if different tokens followed', () => {
    expect(hintOf([1, 2, 3, 7, 1, 2, 3, 8, 1, 2, 3])).toEqual({ token: 8, matched: 3, votes: 1, isClear: false });
    expect(hintOf([1, 2, 3, 7, 0, 1, 2, 3, 7, 9, 1, 2, 3])).toEqual({ token: 7, matched: 3, votes: 2, isClear: true });
  });

  test('behind drafts is that of the text that they continue, and they leave no trace', () => {
    const random = seededRandom(7);
    const token = (): number => Math.floor(random() * 5);
    const text = Array.from({ length: 60 }, token);
    const hints = newHints(text);
    for (let round = 0; round < 200; round++) {
      const drafts = Array.from({ length: token() }, token);
      const expected = [...drafts, 0].map((_, n) => hintOf([...text, ...drafts.slice(0, n)]));
      expect(hints.next(drafts)).toEqual(expected);
      const next = token();
      hints.add([next]);
      text.push(next);
    }
  });
});

describe('how sure an exit is', () => {
  const weights: HintWeights = { agrees: 1, agreesClearly: 2, contradicts: -1, contradictsClearly: -2 };
  const fiveIs = (isClear: boolean): Hint => ({ token: 5, matched: 3, votes: 1, isClear });
  const says = (token: number): Readout => ({ token, confidence: 0.75, margin: 0.5, entropy: 1, candidates: [] });
  const sureOf = (token: number, isClear: boolean): number => hinted(says(token), fiveIs(isClear), weights).confidence;

  test('rises where the text says the same and falls where it says something else, more so if it is clear', () => {
    const odds = [sureOf(5, false), sureOf(5, true), sureOf(6, false), sureOf(6, true)].map((p) => p / (1 - p));
    for (const [i, nats] of [1, 2, -1, -2].entries()) expect(odds[i]).toBeCloseTo(3 * Math.exp(nats), 6);
  });

  test('stays without a hint, without weights, and of a token that is not listed', () => {
    expect(hinted(says(5), null, weights)).toEqual(says(5));
    expect(hinted(says(5), fiveIs(true), undefined)).toEqual(says(5));
    expect(hinted(says(-1), fiveIs(true), weights)).toEqual(says(-1));
    expect(agreementWith(fiveIs(true), -1)).toBeNull();
  });

  test('stays a probability if it was rounded to one', () => {
    expect(raised(1, 30)).toBeLessThanOrEqual(1);
    expect(raised(1, -3)).toBeLessThan(1);
    expect(raised(0, 3)).toBeGreaterThan(0);
    expect(logOdds(0.5)).toBe(0);
  });
});
