import { expect, it } from 'vitest';
import { pretrainingTokens, trainingFlops, tuningFlops } from '../../../../backend/evaluation/report/cost.ts';

it('two operations a number and token forwards, six where it is trained', () => {
  const numbers = { backbone: 100, whole: 150, trained: 10 };
  expect(tuningFlops(numbers, 7)).toBe(7 * (200 + 60));
  expect(trainingFlops(numbers, 7)).toBe(7 * 900);
});

it.each([
  ['typescript-5m', 15.4e6],
  ['HuggingFaceTB/SmolLM2-135M-Instruct', 2e12],
  ['Qwen2.5-Coder-0.5B-Instruct', 23.5e12],
  ['Qwen2.5-7B', 18e12],
  ['my-own', null],
])('%s was trained on %s tokens', (model, tokens) => expect(pretrainingTokens(model)).toBe(tokens));
