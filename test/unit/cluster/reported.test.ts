/** Lines of ranks are read, not believed. */
import { describe, expect, it } from 'vitest';
import { eventOrNull, readEvent } from '../../../backend/cluster/reported.ts';
import { caught } from '../formats/fixtures.ts';

const score = { exit: '3:mlp', layer: 3, loss: 2.5, perplexity: 12.2, accuracy: 0.4, agreement: 0.5 };
const step = {
  ...{ type: 'step', step: 1, steps: 9, epoch: 1, tokens: 64, tokensPerSecond: 50, learningRate: 1e-3, loss: 3 },
  ...{ losses: { '3:mlp': 3 }, gradientNorms: { '3:mlp': 1 }, secondsLeft: 4 },
};

describe('a line of a rank', () => {
  it.each([
    { type: 'phase', phase: 'load', detail: 'a' },
    { type: 'progress', phase: 'fit', done: 1, total: 2, unit: 'windows' },
    step,
    { type: 'evaluation', step: 1, tokens: 64, scores: [score], best: true },
    { type: 'failed', message: 'no' },
  ])('is an event: $type', (event) => {
    const line = JSON.stringify(event);
    expect(readEvent(line)).toEqual(event);
    // A cluster's log puts something before it.
    expect(readEvent(`(Rank pid=1) ${line}`)).toEqual(event);
    expect(eventOrNull(line)).toEqual(event);
  });

  it('has null for a number that is not finite', () => {
    expect(readEvent(JSON.stringify({ ...step, loss: NaN, losses: { '3:mlp': Infinity } }))).toMatchObject({
      loss: NaN,
      losses: { '3:mlp': NaN },
    });
  });

  it.each(['', 'text', '{', '{}', 'null', '{"type":null}', '{"type":"toString"}', '{"type":"looked"}'])(
    'is none: %s',
    (line) => expect(readEvent(line)).toBeNull(),
  );

  it.each([
    ['{"type":"evaluation"}', 'evaluation: step must be a whole number of at least 0, but is missing.'],
    ['{"type":"failed"}', 'failed: message must be a text, but is missing.'],
    ['{"type":"step","step":{}}', 'step: step must be a whole number of at least 0, but is an object.'],
    [JSON.stringify({ ...step, losses: { a: 'b' } }), 'step: losses.a must be a number, but is "b".'],
    [
      JSON.stringify({ type: 'evaluation', step: 1, tokens: 1, scores: [null], best: true }),
      'evaluation: scores[0] must be an object, but is null.',
    ],
    ['{"type":"finished","step":1}', 'finished: before must be a list, but is missing.'],
    [
      '{"type":"phase","phase":"lunch","detail":""}',
      'phase: phase must be one of load, download, tokenize, features, fit, tune, evaluate, measure, generate, install, save, but is "lunch".',
    ],
  ])('that cannot be read is said in a sentence: %s', (line, why) => {
    const error = caught(() => readEvent(line));
    expect(error.code).toBe('bad-data');
    expect(error.message).toBe(`The job reports what cannot be read: ${why}`);
    expect(error.wayOut).not.toBeNull();
    expect(eventOrNull(line)).toBeNull();
  });
});
