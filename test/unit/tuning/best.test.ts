/** Each exit keeps the best of its own. */
import { expect, test } from 'vitest';
import type { ExitScore } from '../../../protocol/events.ts';
import { improvedExits, parametersOf, withImproved } from '../../../backend/tuning/best.ts';

const score = (exit: string, loss: number, agreement: number): ExitScore => ({
  exit,
  layer: 1,
  loss,
  agreement,
  perplexity: Math.exp(loss),
  accuracy: 0,
});

const before = [score('2:lens', 3, 0.5), score('4:mlp', 2, 0.7), score('final', 1, 1)];

test('an exit is better with a lower loss, and if it agrees no less than at the start', () => {
  const now = [score('2:lens', 2.9, 0.5), score('4:mlp', 1.8, 0.69), score('final', 1, 1)];
  expect([...improvedExits(now, before, before)]).toEqual(['2:lens']);
  const higher = now.map((each) => ({ ...each, loss: each.loss + 1, agreement: 1 }));
  expect(improvedExits(higher, before, before).size).toBe(0);
  expect([...improvedExits(now, [], [])]).toEqual(['2:lens', '4:mlp']);
});

test('what is kept says of each exit where it comes from', () => {
  const kept = { step: 0, tokens: 0, scores: before, origins: { '2:lens': 'copy', '4:mlp': 'fit' } as const };
  const now = { step: 9, tokens: 90, scores: [score('2:lens', 2, 0.6), score('4:mlp', 5, 0.1), score('final', 1, 1)] };
  expect(withImproved(kept, new Set(['2:lens']), now, 9)).toEqual({
    step: 9,
    tokens: 90,
    scores: [now.scores[0], before[1], before[2]],
    origins: { '2:lens': 9, '4:mlp': 'fit' },
  });
});

test('parameters belong to the exit that their name says', () => {
  const parameters = new Map(
    ['exits.2.lens.head.weight', 'exits.2.norm.head.weight', 'exits.22.lens.norm.weight'].map((name) => [
      name,
      new Float32Array(1),
    ]),
  );
  expect([...parametersOf(new Set(['2:lens']), parameters).keys()]).toEqual(['exits.2.lens.head.weight']);
});
