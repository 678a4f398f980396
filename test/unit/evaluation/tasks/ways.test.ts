import { expect, it } from 'vitest';
import { inReadingOrder, type Way } from '../../../../backend/evaluation/tasks/ways.ts';

it('puts ways first that compare exits with the full model within a prompt', () => {
  const way = (name: string, how: Partial<Way['how']>): Way => ({ name, how: how as Way['how'], uses: () => true });
  const ways = [
    way('full', {}),
    way('lossless', {}),
    way('calibrated', { onProbation: true }),
    way('0.9', { onProbation: false }),
    way('learned', { onProbation: true, learnedAnswers: true }),
  ];
  expect(inReadingOrder(ways).map(({ name }) => name)).toEqual(['calibrated', 'full', 'lossless', '0.9', 'learned']);
});
