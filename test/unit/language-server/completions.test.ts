import { expect, it } from 'vitest';
import { complete } from '../../../backend/language-server/completions.ts';
import type { CompleteEvent } from '../../../protocol/events.ts';
import { fakeEngine, type FakeJob } from './fake-engine.ts';

const gap = { prefix: 'const a = ', suffix: ';', repository: 'r', file: 'a.ts', chunks: [] };
const limits = {
  prefixTokens: 10,
  suffixTokens: 10,
  chunkTokens: 0,
  maxTokens: 4,
  maxMilliseconds: 100,
  suggestions: 1,
};
const params = { gap, limits, options: { model: './m' } };
const report = { ready: () => {}, warning: () => {} };
const ready: CompleteEvent = {
  type: 'ready',
  model: 'm',
  layers: 4,
  exits: [{ exit: '2:lens', layer: 2 }],
  device: 'cpu',
  mode: 'lossless',
  policy: null,
};
const token = { sequence: 0, index: 0, id: 1, text: '1', layer: 4, exit: 'final', confidence: 0.123456 };
const completed: CompleteEvent = {
  type: 'completed',
  suggestions: [{ tokens: [token], stop: 'end-of-text' }],
  fills: true,
  promptTokens: 9,
  rememberedTokens: 5,
};

it('answers with traces that know the model, its exits and the rule', async () => {
  const engine = fakeEngine((job) => {
    job.push(ready);
    job.push(completed);
    job.end();
  });
  const result = await complete(engine, params, report, new AbortController().signal);
  expect(result).toMatchObject({ fills: true, promptTokens: 9, rememberedTokens: 5 });
  expect(result.suggestions).toEqual([
    {
      model: 'm',
      layers: 4,
      exits: ['2:lens', 'final'],
      policy: 'lossless',
      prompt: gap.prefix,
      stop: 'end-of-text',
      tokens: [{ ...token, confidence: 0.1235 }],
    },
  ]);
  expect(engine.jobs[0]!.options).toMatchObject({ gap, limits });
});

it('cancels its job, and says so', async () => {
  const stopped = new AbortController();
  const jobs: FakeJob[] = [];
  const engine = fakeEngine((job) => {
    jobs.push(job);
    stopped.abort();
  });
  await expect(complete(engine, params, report, stopped.signal)).rejects.toMatchObject({ code: 'cancelled' });
  expect(jobs[0]!.cancelled).toBe(true);
});

it('downloads no model', async () => {
  const engine = fakeEngine();
  const asked = complete(
    engine,
    { ...params, options: { model: 'owner/no-such-model-here' } },
    report,
    new AbortController().signal,
  );
  await expect(asked).rejects.toThrow('owner/no-such-model-here is not on this machine.');
  expect(engine.jobs).toEqual([]);
});
