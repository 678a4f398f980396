/** An exit is read for drafts only while that pays: by what its readings brought of late, whatever they said. */
import { describe, expect, test } from 'vitest';
import type { KvCache } from '../../../../backend/decoding/cache/kv-cache.ts';
import { newCredit } from '../../../../backend/decoding/drafts/credit.ts';
import { draft } from '../../../../backend/decoding/drafts/draft.ts';
import { newPace } from '../../../../backend/decoding/drafts/pace.ts';
import type { Sequence } from '../../../../backend/decoding/sequence.ts';
import type { StagedModel } from '../../../../backend/runtime/staged-model.ts';

const model = {
  spec: { layers: [], contextLength: 100_000 },
  stages: [
    { parent: null, from: { layer: 0 }, to: { layer: 3 } },
    { parent: 0, from: { layer: 3 }, to: { layer: 10 } },
  ],
  exits: [
    { id: '3:lens', layer: 3, stages: 1, reads: 0, spec: {} },
    { id: 'final', layer: 10, stages: 2, reads: 1, spec: null },
  ],
} as unknown as StagedModel;

/** Decodes this number of tokens, 10 ms each, with an exit whose readouts cost 1.5 ms; returns how often it was read. */
async function readings(
  tokens: number,
  confidenceOf: (reading: number) => number,
  isRight: () => boolean,
): Promise<number> {
  const ratios = [
    [1, 1],
    [2, 1.2],
  ] as const;
  const pace = newPace(model, { layers: ratios, readings: ratios });
  for (let n = 0; n < 3; n++) {
    for (const [stage, milliseconds] of [
      [0, 3],
      [1, 6],
      [-1, 1.5],
      [-2, 1],
    ] as const) {
      pace.measured(stage, 1, milliseconds);
      pace.measured(stage, 2, milliseconds * 1.2);
    }
  }
  let read = 0;
  const cache = {
    position: () => 100,
    enter: () => undefined,
    advance: () => Promise.resolve(),
    read: () => {
      const readouts = [{ token: 5, confidence: confidenceOf(read++) }];
      return Promise.resolve([{ readouts, logits: null }]);
    },
  } as unknown as KvCache;
  const drafts = { lookup: false, exits: () => true, limit: 1 };
  const sequence = {
    lookup: null,
    options: { drafts, enabled: () => false, maxTokens: Infinity },
    count: 0,
  } as unknown as Sequence;
  for (let n = 0; n < tokens; n++) {
    const [drafted] = await draft(model, cache, pace, [sequence], [Infinity]);
    for (const { kind, source } of drafted!) {
      const right = isRight();
      pace.judged(kind!, right);
      if (right) pace.drafters.earned(source);
    }
    pace.decided(1, 10);
  }
  return read;
}

describe('an exit', () => {
  test('that is hardly ever sure, so that no draft of it is judged, is soon not asked', async () => {
    // Its lowest bin is known to be wrong, its highest was never seen.
    expect(
      await readings(
        2000,
        () => 0.15,
        () => false,
      ),
    ).toBeLessThan(2000 * 0.03);
  });
  test('that is sure and wrong is soon not asked', async () => {
    expect(
      await readings(
        2000,
        () => 0.95,
        () => false,
      ),
    ).toBeLessThan(2000 * 0.03);
  });
  test('whose drafts are right is asked each time', async () => {
    expect(
      await readings(
        500,
        () => 0.95,
        () => true,
      ),
    ).toBeGreaterThan(450);
  });
  test('that becomes sure and right is found again', async () => {
    const read = await readings(
      6000,
      (reading) => (reading < 12 ? 0.15 : 0.95),
      () => true,
    );
    expect(read).toBeGreaterThan(4000);
  });
});

test('what was earned long ago is spent soon', () => {
  const credit = newCredit();
  for (let n = 0; n < 100; n++) credit.earned('3:lens');
  expect(credit.balance('3:lens')).toBe(2);
  for (let n = 0; n < 11; n++) credit.spent('3:lens', 0.2);
  expect(credit.balance('3:lens')).toBeLessThan(0);
  credit.passed(1000);
  expect(credit.balance('3:lens')).toBe(2);
  expect(credit.balance('4:lens')).toBe(0.5);
});
