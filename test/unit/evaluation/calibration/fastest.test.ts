/** The mode that a calibration chooses, and the thresholds that it keeps, by what was timed. */
import { expect, test } from 'vitest';
import type { Figure } from '../../../../protocol/brought.ts';
import { fastestOf } from '../../../../backend/evaluation/calibration/fastest.ts';
import type { Trial } from '../../../../backend/evaluation/calibration/trial.ts';
import type { Judged } from '../../../../backend/evaluation/calibration/written.ts';

const figure = (value: number, error = 0.01): Figure => ({ value, error });
const candidate: Judged = {
  thresholds: { '4:lens': 0.9 },
  gates: new Map(),
  hints: new Map(),
  trust: new Map(),
  remembers: true,
  learnedAnswers: false,
  agreement: figure(0.99),
  regret: figure(0.001),
};
const trial = (lossless: number, beside: Figure, alone: Figure): Trial => ({
  lossless: figure(lossless),
  leaving: { fast: figure(lossless * beside.value), beside, alone },
  texts: 8,
  busy: 0,
});

test('leaving is the default if it is faster than drafts alone', () => {
  const { mode, thresholds, brought } = fastestOf(candidate, trial(1.1, figure(1.05), figure(1.1)));
  expect(mode).toBe('fast');
  expect(thresholds).toBe(candidate.thresholds);
  expect(brought?.speedup.value).toBe(1.1);
});

test('leaving is the default if drafts alone are as fast', () => {
  expect(fastestOf(candidate, trial(1.09, figure(1.01, 0.03), figure(1.12))).mode).toBe('fast');
  expect(fastestOf(candidate, trial(1.09, figure(0.99, 0.03), figure(1.12))).mode).toBe('fast');
  // What drafts bring varies from text to text: a difference within two errors is no reason to have no exits.
  expect(fastestOf(candidate, trial(1.24, figure(0.94, 0.05), figure(1.03))).mode).toBe('fast');
  expect(fastestOf(candidate, trial(1.09, figure(0.95, 0.01), figure(1.12))).mode).toBe('lossless');
});

test('leaving that clearly pays by itself is the default if it is the fastest with drafts, too, by more or less', () => {
  const figures = { fast: figure(1.04, 0.06), beside: figure(1.14, 0.04), alone: figure(1.09, 0.05) };
  const modeOf = (leaving: Trial['leaving']) =>
    fastestOf(candidate, { lossless: figure(0.91), leaving, texts: 8, busy: 0 }).mode;
  expect(modeOf(figures)).toBe('fast');
  expect(modeOf({ ...figures, fast: figure(1.01, 0.06) })).toBe('fast');
  expect(modeOf({ ...figures, fast: figure(0.99, 0.06) })).toBe('full');
  expect(modeOf({ ...figures, fast: figure(1.01, 0.06), alone: figure(1.01, 0.05) })).toBe('full');
});

test('thresholds that pay by themselves are kept for mode fast if drafts alone are faster', () => {
  const { mode, thresholds, remembers, brought } = fastestOf(candidate, trial(1.6, figure(0.9), figure(1.1)));
  expect(mode).toBe('lossless');
  expect(thresholds).toBe(candidate.thresholds);
  expect(remembers).toBe(true);
  expect(brought?.speedup.value).toBe(1.1);
});

test('thresholds that do not clearly pay are dropped', () => {
  const { mode, thresholds, brought, tried } = fastestOf(candidate, trial(0.9, figure(1), figure(1.03, 0.05)));
  expect(mode).toBe('full');
  expect(thresholds).toEqual({});
  expect(brought).toBeNull();
  expect(tried).toEqual(figure(1.03, 0.05));
  expect(fastestOf(null, { ...trial(1, figure(1), figure(1)), leaving: null }).mode).toBe('lossless');
});
