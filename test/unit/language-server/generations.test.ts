import { expect, it } from 'vitest';
import { createGenerations } from '../../../backend/language-server/generations.ts';
import type { GenerateEvent } from '../../../protocol/events.ts';
import { fakeEngine } from './fake-engine.ts';

const params = { generation: 'g', prompt: 'a', options: { model: './m' } };
const report = { ready: () => {}, token: () => {}, explained: () => {}, warning: () => {} };
const generated: GenerateEvent = {
  type: 'generated',
  texts: [''],
  stops: ['length'],
  promptTokens: 1,
  tokens: 0,
  meanLayer: 0,
  layers: 1,
  tokensPerSecond: 0,
  speedup: null,
  promptSeconds: 0,
};

it('writes beside other generations of the model, and while a run tunes it', async () => {
  const engine = fakeEngine((job) => {
    job.push(generated);
    job.end();
  }, 'tune');
  const generations = createGenerations(engine);
  const all = [1, 2, 3].map(() => generations.generate(params, report, new AbortController().signal));
  expect((await Promise.all(all)).map(({ stop }) => stop)).toEqual(['length', 'length', 'length']);
  expect(engine.jobs).toHaveLength(3);
});

it('passes a conversation on', async () => {
  const engine = fakeEngine((job) => {
    job.push(generated);
    job.end();
  });
  const turns = [{ role: 'user' as const, content: 'A?' }];
  await createGenerations(engine).generate({ ...params, turns }, report, new AbortController().signal);
  expect(engine.jobs[0]!.options).toMatchObject({ turns });
});
