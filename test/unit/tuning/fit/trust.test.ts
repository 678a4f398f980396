/** Trust in the text: the direction that says whether a hint is right is found where there is one. */
import { expect, test } from 'vitest';
import { seededRandom } from '../../../../backend/decoding/sampling/random.ts';
import { hintsBehind } from '../../../../backend/data/hints.ts';
import { trustOf } from '../../../../backend/exits/trust.ts';
import type { StepBatch } from '../../../../backend/features/features.ts';
import { openTrustFit } from '../../../../backend/tuning/fit/trust.ts';
import { tinyModel } from '../../../support/models.ts';

const { spec } = tinyModel();
const { hidden } = spec;
const [tokens, phrase] = [256, 6];

/** A text of few phrases, whose last words change now and then. */
function textOf(random: () => number): number[] {
  const ids: number[] = [];
  while (ids.length < tokens) {
    const which = Math.floor(random() * 8);
    for (let i = 0; i < phrase; i++) ids.push(which * phrase + i);
    if (random() < 0.3) ids[ids.length - 1] = 100 + Math.floor(random() * 50);
  }
  return ids.slice(0, tokens);
}

/** To the model, tokens from 125 on are likelier than what the text says: then a hint is right that the text contradicts. */
const likelihood = (token: number): number => (token >= 125 ? -1 : token >= 100 ? 2 : 1);
const rows = (_: string, ids: ArrayLike<number>): Float32Array =>
  Float32Array.from({ length: ids.length * hidden }, (__, i) =>
    i % hidden ? 0 : likelihood(ids[Math.floor(i / hidden)]!),
  );

/** Of places with a hint from the first that counts on: whether the model would say it. */
function rightAt(ids: readonly number[]): Map<number, boolean> {
  const right = new Map<number, boolean>();
  for (const [n, hint] of hintsBehind(ids, 32).entries()) {
    const next = ids[32 + n + 1];
    if (hint && next !== undefined) right.set(32 + n, hint.token === next || likelihood(hint.token) > likelihood(next));
  }
  return right;
}

/** The second number of the stream says it, among noise. */
function windowOf(random: () => number): { readonly batch: StepBatch; readonly ids: number[] } {
  const ids = textOf(random);
  const right = rightAt(ids);
  const stream = Float32Array.from({ length: tokens * hidden }, () => random() - 0.5);
  for (let t = 0; t < tokens; t++) stream[t * hidden + 1] = right.has(t) ? (right.get(t) ? 1 : -1) : 5 * random();
  const final = Float32Array.from({ length: tokens * hidden }, (_, i) => Number(i % hidden === 0));
  const targets = Int32Array.from({ length: tokens }, (_, i) => ids[i + 1] ?? -1);
  return { batch: { batch: 1, tokens, features: new Map([['2.end', stream]]), targets, final }, ids };
}

/** Heads that give tokens these logits: by their rows alone, or with a bias that outweighs them. */
const heads = [
  ['rows alone', { has: () => false, values: () => new Float32Array(0), rows }],
  [
    'rows and a bias',
    {
      has: (name: string) => name === 'lm_head.bias',
      values: () => Float32Array.from({ length: spec.vocabulary }, (_, token) => 2 * likelihood(token)),
      rows: (name: string, ids: ArrayLike<number>) => rows(name, ids).map((value) => -value),
    },
  ],
] as const;

test.each(heads)('with a head of %s the direction tells right hints from wrong ones in new text', async (_, model) => {
  const cut = { layer: 2, at: 'end' } as const;
  const fit = openTrustFit({ spec, model, cuts: [cut] });
  expect((await fit.solve()).size).toBe(0);
  const random = seededRandom(4);
  for (let w = 0; w < 12; w++) {
    const { batch, ids } = windowOf(random);
    fit.add(batch, ids);
  }
  expect(fit.solveSeconds).toBeGreaterThan(0);
  const direction = (await fit.solve()).get('2.end')!;
  expect(direction.length).toBe(hidden + 1);
  const { batch, ids } = windowOf(random);
  const seen = { right: 0, wrong: 0 };
  for (const [t, isRight] of rightAt(ids)) {
    const state = batch.features.get('2.end')!.subarray(t * hidden, (t + 1) * hidden);
    expect(trustOf(direction, state) > 0).toBe(isRight);
    seen[isRight ? 'right' : 'wrong']++;
  }
  expect(Math.min(seen.right, seen.wrong)).toBeGreaterThan(5);
});
