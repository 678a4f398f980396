/**
 * How many times as fast one way of decoding is as another, from texts that both wrote in turn, and when that is clear enough to
 * stop. Pure; knows no model.
 */
import type { Figure } from '../../../protocol/brought.ts';
import { median } from '../../../protocol/median.ts';

/**
 * Total of `slower` ÷ total of `faster`, both by text; the error is that of the ratio estimator (Cochran 1977, 6.4). Without texts nothing
 * is known: 1, with an infinite error.
 */
export function ratioOf(slower: readonly number[], faster: readonly number[]): Figure {
  const n = faster.length;
  if (n === 0) return { value: 1, error: Infinity };
  const total = sum(faster);
  const value = sum(slower) / total;
  if (n < 2) return { value, error: Infinity };
  const squares = sum(faster.map((time, i) => (slower[i]! - value * time) ** 2));
  return { value, error: Math.sqrt(squares / (n * (n - 1))) / (total / n) };
}

/**
 * Standard errors by which a ratio must differ. The number is high, since few texts estimate their own spread badly, and the test is
 * repeated after each text.
 */
const clearErrors = 3;

/** Whether it is clear on which side of a boundary the ratio lies. */
export const isClear = ({ value, error }: Figure, boundary: number): boolean =>
  Math.abs(value - boundary) > clearErrors * error;

/** A text that took longer than this multiple of the usual time was held up by other programs, or built graphs. */
const stall = 1.6;

/**
 * The indices of the texts at which no way was held up. `ways`: times of the same texts, Infinity for one that was too short to be timed;
 * `full`: times at full depth. The usual time of a way is its median, but at least that of full depth: a text in which few drafts are
 * right takes as long as full depth, and counts.
 */
export function steadyTexts(ways: readonly (readonly number[])[], full: readonly number[]): number[] {
  const texts = Math.min(...ways.map((times) => times.length));
  const usual = (times: readonly number[]): number => median(times.slice(0, texts).filter(Number.isFinite));
  const most = ways.map((times) => stall * Math.max(usual(times), usual(full)));
  return Array.from({ length: texts }, (_, i) => i).filter((i) => ways.every((times, way) => times[i]! <= most[way]!));
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
