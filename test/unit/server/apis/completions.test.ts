import { expect, test } from 'vitest';
import { completions } from '../../../../backend/server/apis/completions.ts';
import type { Served } from '../../../../backend/server/served.ts';
import { parseOptions } from '../../../../protocol/options/options.ts';
import type { TokenRecord } from '../../../../protocol/trace.ts';

test('of alternatives with the same text, as parts of characters are, the likeliest has its log probability', () => {
  const model = { name: 'm', contextLength: 99, trainedContextLength: 99, vocabulary: 99, layers: 1, exits: [] };
  const served = { name: 'm', model, options: parseOptions('generate', {}) } as unknown as Served;
  const endpoint = completions({ prompt: 'x', logprobs: 3 }, served);
  const part = '\uFFFD';
  const alternatives = [
    { id: 1, text: part, probability: 0.5 },
    { id: 2, text: 'a', probability: 0.25 },
    { id: 3, text: part, probability: 0.125 },
  ];
  const token = { id: 1, text: part, confidence: 0.5, alternatives } as unknown as TokenRecord;
  const text = { prompt: [], tokens: [token], promptTokens: 1, reason: 'length' } as never;
  const { choices } = endpoint.whole([text], { id: '1', created: 0 }) as {
    choices: { logprobs: { top_logprobs: unknown[] } }[];
  };
  expect(choices[0]!.logprobs.top_logprobs).toEqual([{ [part]: Math.log(0.5), a: Math.log(0.25) }]);
});
