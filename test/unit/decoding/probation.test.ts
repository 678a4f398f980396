/** Calibrated exits prove themselves in each text before they decide, and keep being checked. */
import { expect, test } from 'vitest';
import type { TokenRecord } from '../../../protocol/trace.ts';
import { lag, newProbation, type Probation } from '../../../backend/decoding/probation.ts';
import { openSession } from '../../../backend/decoding/session.ts';
import { openStagedModel } from '../../../backend/runtime/open.ts';
import type { ExitPoint } from '../../../backend/runtime/staged-model.ts';
import { confidenceAt, decodeAll, eagerSession, plainRequest } from '../../support/decoding.ts';
import { copiedExits, tinyModel } from '../../support/models.ts';

const exitOf = (tokens: readonly number[] | null): ExitPoint => ({
  ...{ id: '2:lens', layer: 2, stages: 1, reads: 0, remembers: false },
  spec: { layer: 2, architecture: 'lens', head: tokens ? { kind: 'shortlist', tokens } : { kind: 'shared' } },
});
const range = (length: number): number[] => [...Array(length).keys()];

/** Checks from place `from` on, one at each place. */
function check(probation: Probation, from: number, rights: readonly boolean[]): void {
  for (const [i, isRight] of rights.entries()) probation.checked('2:lens', { index: from + i, isRight });
}
const decides = (probation: Probation, places: readonly number[]): boolean[] =>
  places.map((place) => probation.mayDecide('2:lens', place));

test('an exit is asked where its shortlist has most of the prompt, and one without a list everywhere', () => {
  const prompt = range(100);
  const asks = (listed: number): boolean => newProbation(prompt).asks(exitOf(range(listed)));
  expect([asks(100), asks(88), asks(87), asks(0)]).toEqual([true, true, false, false]);
  expect(newProbation(prompt).asks(exitOf(null))).toBe(true);
  // Of a short prompt a few tokens say little.
  expect(newProbation([1, 2, 3, 200]).asks(exitOf(range(100)))).toBe(true);
});

test('an exit decides once the full model has agreed four times, as far back as no pass reaches', () => {
  const probation = newProbation([]);
  expect(decides(probation, [1, 100])).toEqual([false, false]);
  check(probation, 1, [true, true, true, true]);
  const proven = 4 + lag;
  expect(decides(probation, [proven, proven + 1])).toEqual([false, true]);
});

test('one token in sixteen is checked all the same', () => {
  const probation = newProbation([]);
  check(probation, 0, Array<boolean>(8).fill(true));
  const checked = range(100).filter((place) => place > 16 && !probation.mayDecide('2:lens', place));
  expect(checked).toEqual([32, 48, 64, 80, 96]);
});

test('a wrong check outweighs sixteen right ones, and a long record is no licence', () => {
  const probation = newProbation([]);
  check(probation, 0, [...Array<boolean>(100).fill(true), false]);
  expect(decides(probation, [101 + lag])).toEqual([true]);
  check(probation, 101, [false]);
  expect(decides(probation, [103 + lag])).toEqual([false]);
  check(probation, 103, Array<boolean>(12).fill(true));
  expect(decides(probation, [117 + lag])).toEqual([true]);
});

const { layers } = tinyModel().spec;
/** Behind the last layer an exit says what the model says; behind the second it hardly ever does. */
const exitsAt = (layer: number) =>
  copiedExits(tinyModel(), [{ layer, architecture: 'norm', head: { kind: 'shared' } }]);
const prompts = [
  [5, 9, 2, 14],
  [7, 3, 1],
];
const leaving = { policy: confidenceAt(0.02), onProbation: true };
const summary = (tokens: readonly TokenRecord[][]): string[][] =>
  tokens.map((text) => text.map(({ id, exit }) => `${id}@${exit}`));

test.each([
  ['agrees', layers.length, true],
  ['does not', 2, false],
])('an exit that %s with the full model: drafts and other texts change nothing', async (_, layer, agrees) => {
  const staged = await openStagedModel(tinyModel(), exitsAt(layer));
  const { tokens } = await decodeAll(openSession(staged), plainRequest(prompts, 60, leaving));
  const full = await decodeAll(openSession(staged), plainRequest(prompts, 60, { enabled: () => false }));
  for (const [row, text] of tokens.entries()) {
    const first = text.findIndex(({ exit }) => exit !== 'final');
    if (agrees) expect(first).toBeGreaterThan(lag);
    else expect(first).toBe(-1);
    const before = text.slice(0, first === -1 ? text.length : first).map(({ id }) => id);
    expect(before).toEqual(full.tokens[row]!.slice(0, before.length).map(({ id }) => id));
  }
  const drafting = { ...leaving, drafts: { lookup: true, exits: () => false, limit: 3 * lag } };
  const drafted = await decodeAll(eagerSession(staged), plainRequest(prompts, 60, drafting));
  expect(summary(drafted.tokens)).toEqual(summary(tokens));
  for (const [row, prompt] of prompts.entries()) {
    const alone = await decodeAll(openSession(staged), plainRequest([prompt], 60, leaving));
    expect(summary(alone.tokens)[0]).toEqual(summary(tokens)[row]);
  }
});
