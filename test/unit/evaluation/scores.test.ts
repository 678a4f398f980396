import { describe, expect, it } from 'vitest';
import { exitCut } from '../../../backend/exits/architectures.ts';
import type { ExitSpec } from '../../../backend/exits/spec.ts';
import { cutName, finalCut } from '../../../backend/model/spec.ts';
import type { Scores } from '../../../backend/runtime/open.ts';
import { evenShare, openHeldOut, type Done, type OpenScorer } from '../../../backend/evaluation/scores.ts';
import { sweepThresholds } from '../../../protocol/options/tasks.ts';
import { sweep } from '../../../backend/evaluation/by-threshold.ts';
import { featureSource } from '../../../backend/features/features.ts';
import { fakeModel, fakeWindows, tinySpec } from '../tuning/fakes.ts';

const exits: ExitSpec[] = [
  { layer: 2, architecture: 'norm', head: { kind: 'own' } },
  { layer: 3, architecture: 'lens', head: { kind: 'shortlist', tokens: [2, 4, 9] } },
  { layer: 3, architecture: 'layer', head: { kind: 'shared' } },
];
const cuts = [...new Set([...exits.map(exitCut), finalCut(tinySpec)].map(cutName))];
const model = () => fakeModel([{ layer: 2, at: 'end' }, { layer: 3, at: 'end' }, finalCut(tinySpec)]);

async function drain<T>(steps: AsyncGenerator<Done, T>): Promise<{ value: T; done: Done[] }> {
  const done: Done[] = [];
  for (;;) {
    const next = await steps.next();
    if (next.done) return { value: next.value, done };
    done.push(next.value);
  }
}

/** Loss: the class asked for, over 10; token: what the final exit says plus `shift` on odd rows; it notes its calls. */
function fakeScorer(calls: { exit: string; batch: number; tokens: number; classes: number[] }[] = []): OpenScorer {
  return async (exit) => ({
    async score(value, targets, batch, tokens): Promise<Scores> {
      expect(value.length).toBe(batch * tokens * tinySpec.hidden);
      const classes = Array.from(targets);
      calls.push({ exit: exit ? `${exit.layer}:${exit.architecture}` : 'final', batch, tokens, classes });
      return {
        loss: Float32Array.from(classes, (target) => Math.max(0, target) / 10),
        token: Int32Array.from(classes, (target, i) => (exit && i % 2 ? 15 : Math.max(0, target))),
        confidence: Float32Array.from(classes, (_, i) => (i % 4) / 4),
        deferred: classes.map((target) => exit?.head.kind === 'shortlist' && target === 3),
      };
    },
    dispose: async () => {},
  });
}

describe('openHeldOut', () => {
  const open = (openScorer: OpenScorer) =>
    openHeldOut({
      spec: tinySpec,
      source: featureSource({ model: model(), windows: fakeWindows(3, 5), cache: null }),
      exits,
      openScorer,
      batch: 2,
    });

  it('scores the final exit once, and every exit at each evaluation', async () => {
    const calls: Parameters<typeof fakeScorer>[0] = [];
    const { value: heldOut, done } = await drain(open(fakeScorer(calls)));
    expect(done).toEqual([
      { done: 1, total: 2 },
      { done: 2, total: 2 },
    ]);
    expect([...heldOut.targets]).toEqual([1, 2, 3, 4, 2, 3, 4, 5, 3, 4, 5, 6]);
    const first = await drain(heldOut.evaluate(new Map()));
    await drain(heldOut.evaluate(new Map()));
    expect(first.done.at(-1)).toEqual({ done: 6, total: 6 });
    expect(first.value.scores.map(({ exit }) => exit)).toEqual(['2:norm', '3:lens', '3:layer', 'final']);
    expect(calls.filter(({ exit }) => exit === 'final')).toHaveLength(2);
    expect(calls.filter(({ exit }) => exit === '2:norm')).toHaveLength(4);
    // Positions without a target are left out, save where an exit's own attention needs the whole sequence.
    expect(calls.find(({ exit }) => exit === '2:norm')).toMatchObject({ batch: 1, tokens: 8 });
    expect(calls.find(({ exit }) => exit === '3:layer')).toMatchObject({
      batch: 1,
      tokens: 5,
      classes: [1, 2, 3, 4, -1],
    });
  });

  it('asks a shortlist for its classes, and gives tokens outside it an even share of the defer class', async () => {
    const calls: Parameters<typeof fakeScorer>[0] = [];
    const { value: heldOut } = await drain(open(fakeScorer(calls)));
    const { value } = await drain(heldOut.evaluate(new Map()));
    expect(calls.find(({ exit }) => exit === '3:lens')!.classes).toEqual([3, 0, 3, 1, 0, 3, 1, 3]);
    expect(evenShare(tinySpec, 3)).toBeCloseTo(Math.log(13), 12);
    const record = value.records.find(({ exit }) => exit === '3:lens')!;
    expect(record.loss[0]).toBeCloseTo(0.3 + Math.log(13), 5);
    expect(record.loss[1]).toBeCloseTo(0, 6);
    expect([...record.deferred.subarray(0, 4)]).toEqual([1, 0, 1, 0]);
  });

  it('takes means over all tokens', async () => {
    const { value: heldOut } = await drain(open(fakeScorer()));
    const { value } = await drain(heldOut.evaluate(new Map()));
    const targets = [...heldOut.targets];
    const mean = targets.reduce((sum, target) => sum + target / 10, 0) / 12;
    const final = value.scores.at(-1)!;
    expect(final).toMatchObject({ exit: 'final', layer: 4, accuracy: 1, agreement: 1 });
    expect(final.loss).toBeCloseTo(mean, 6);
    expect(final.perplexity).toBeCloseTo(Math.exp(mean), 5);
    // Every other token of a chunk of 8 and one of 4 is another one.
    expect(value.scores[0]).toMatchObject({ layer: 2, accuracy: 0.5, agreement: 0.5 });
  });

  it('refuses text without a target', async () => {
    const windows = { ...fakeWindows(1, 1) };
    const source = featureSource({ model: model(), windows, cache: null });
    const opening = drain(openHeldOut({ spec: tinySpec, source, exits, openScorer: fakeScorer(), batch: 2 }));
    await expect(opening).rejects.toMatchObject({ code: 'bad-data' });
    expect(cuts).toHaveLength(3);
  });
});

describe('sweep', () => {
  const record = (exit: string, layer: number, token: number[], confidence: number[], deferred: number[] = []) => ({
    exit,
    layer,
    loss: new Float32Array(4),
    token: Int32Array.from(token),
    confidence: Float32Array.from(confidence),
    deferred: Uint8Array.from({ length: 4 }, (_, i) => deferred[i] ?? 0),
  });
  const records = [
    record('2:norm', 2, [7, 1, 1, 1], [0.9, 0.5, 1, 0.4], [0, 0, 0, 1]),
    record('5:norm', 5, [7, 7, 7, 1], [0.1, 0.75, 0.2, 0.1]),
    record('final', 10, [7, 7, 7, 7], [1, 1, 1, 1]),
  ];

  it('has 21 thresholds from 1.0 to 0.0', () => {
    expect(sweepThresholds).toHaveLength(21);
    expect(sweepThresholds[0]).toBe(1);
    expect(sweepThresholds[1]).toBe(0.95);
    expect(sweepThresholds[20]).toBe(0);
  });

  it('never leaves at 1, and leaves at the first exit that is sure enough below', () => {
    const [never, high, low, zero] = sweep(records, [1, 0.75, 0.2, 0]);
    expect(never).toEqual({ threshold: 1, meanLayer: 10, layerShare: 1, agreement: 1 });
    // 2:norm takes the first and (wrongly) the third token, 5:norm the second.
    expect(high).toEqual({ threshold: 0.75, meanLayer: (2 + 5 + 2 + 10) / 4, layerShare: 0.475, agreement: 0.75 });
    expect(low).toMatchObject({ meanLayer: (2 + 2 + 2 + 10) / 4, agreement: 0.5 });
    // The deferred token goes on to the next exit whatever the threshold.
    expect(zero).toMatchObject({ meanLayer: (2 + 2 + 2 + 5) / 4, agreement: 0.25 });
  });
});
