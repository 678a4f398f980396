/** What is learned of a machine, and how many drafts that makes worth their place. */
import { describe, expect, test } from 'vitest';
import { worthwhile } from '../../../../backend/decoding/drafts/draft.ts';
import { newPace } from '../../../../backend/decoding/drafts/pace.ts';
import type { StagedModel } from '../../../../backend/runtime/staged-model.ts';

const model = { stages: [{ from: { layer: 0 }, to: { layer: 10 } }], exits: [] } as unknown as StagedModel;
const draftsOf = (chances: readonly number[]) =>
  chances.map((chance) => ({ draft: { token: 1, source: 'lookup', kind: 'lookup' }, chance }));

describe('the cost of a pass', () => {
  test('leaves out the first pass of each size, which sets up buffers', () => {
    const pace = newPace(model);
    for (const milliseconds of [50, 6, 8]) pace.measured(0, 1, milliseconds);
    expect(pace.stages(0, 1, 1)).toBe(7);
  });

  test('is never more than that of a larger pass: one of them stalled', () => {
    const ratios = [
      [1, 1],
      [2, 1.15],
    ] as const;
    const pace = newPace(model, { layers: ratios, readings: ratios });
    for (const [tokens, milliseconds] of [
      [1, 6],
      [2, 90],
      [3, 8],
    ] as const)
      for (let n = 0; n < 2; n++) pace.measured(0, tokens, milliseconds);
    expect(pace.stages(0, 1, 2)).toBe(pace.stages(0, 1, 3));
    expect(pace.stages(0, 1, 2)).toBeCloseTo(8, 0);
  });

  test('is never more than that of smaller passes for as many tokens: the largest stalled', () => {
    const pace = newPace(model);
    for (const [tokens, milliseconds] of [
      [4, 10],
      [8, 60],
    ] as const)
      for (let n = 0; n < 2; n++) pace.measured(0, tokens, milliseconds);
    expect(pace.stages(0, 1, 8)).toBe(20);
  });

  test('is guessed from a smaller pass where it was not measured', () => {
    const pace = newPace(model);
    for (let n = 0; n < 2; n++) pace.measured(0, 1, 10);
    expect(pace.stages(0, 1, 3)).toBeCloseTo(24.25);
  });
});

test('a token’s time weighs every token, not every pass', () => {
  const pace = newPace(model);
  expect(pace.perToken(3)).toBe(3);
  for (let n = 0; n < 400; n++) {
    pace.decided(1, 10);
    pace.decided(4, 12);
  }
  expect(pace.perToken(0)).toBeGreaterThan(3.9);
  expect(pace.perToken(0)).toBeLessThan(5);
});

describe('a table of what passes cost here', () => {
  const layers = [
    [1, 1],
    [2, 1.8],
    [4, 2.2],
    [8, 3],
  ] as const;
  const table = { layers, readings: layers };

  test('says what is between its sizes and beyond them, in proportion to a pass of one', () => {
    const pace = newPace(model, table);
    for (let n = 0; n < 2; n++) pace.measured(0, 1, 10);
    expect([1, 2, 3, 4, 6, 8, 10].map((tokens) => pace.stages(0, 1, tokens))).toEqual([10, 18, 20, 22, 26, 30, 34]);
    expect(pace.reading(0, 2)).toBeCloseTo(1.8);
  });

  test('is in proportion to what the machine does now: one that has become slower says nothing new of sizes', () => {
    const pace = newPace(model, table);
    for (let n = 0; n < 2; n++) for (const tokens of [1, 4]) pace.measured(0, tokens, tokens === 1 ? 10 : 22);
    for (let n = 0; n < 60; n++) pace.measured(0, 1, 20);
    expect(pace.stages(0, 1, 1)).toBeCloseTo(20, 1);
    expect(pace.stages(0, 1, 4)).toBeCloseTo(44, 0);
  });

  test('gives way to what passes take', () => {
    const pace = newPace(model, table);
    for (let n = 0; n < 40; n++) for (const tokens of [1, 2]) pace.measured(0, tokens, 10 + 3 * (tokens - 1));
    expect(pace.stages(0, 1, 2)).toBeCloseTo(13, 0);
  });
});

describe('how many drafts pay', () => {
  const pace = newPace(model);
  /** A second token is dear, further ones are cheap. */
  const cost = (drafts: number): number => [5, 9, 9.5, 10, 16][drafts]!;

  test('looks past a first that does not pay by itself', () => {
    expect(worthwhile(pace, [draftsOf([0.9])], cost, 4)).toBe(0);
    expect(worthwhile(pace, [draftsOf([0.9, 0.8, 0.7, 0.6])], cost, 4)).toBe(3);
  });
  test('takes all rows together, which share a pass', () => {
    const sure = draftsOf([0.9, 0.9, 0.9]);
    expect(worthwhile(pace, [sure, [], [], []], (drafts) => 4 * cost(drafts), 4)).toBe(0);
    expect(worthwhile(pace, [sure, sure, sure, []], (drafts) => 4 * cost(drafts), 4)).toBe(3);
  });
  test('is none where nothing is proposed', () => expect(worthwhile(pace, [[], []], cost, 4)).toBe(0));
});
