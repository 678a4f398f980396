import { describe, expect, it } from 'vitest';
import { planOf, pointsOf } from '../../../../extension/panels/curve-points.ts';
import type { EvaluationEvent, StepEvent, TuneEvent } from '../../../../protocol/events.ts';

const step = (n: number, losses: Record<string, number>): StepEvent => ({
  ...{ type: 'step', step: n, steps: 9, epoch: 0, tokens: n, tokensPerSecond: 1, learningRate: 1, loss: 1 },
  ...{ losses, gradientNorms: {}, secondsLeft: 0 },
});
const evaluation = (n: number, loss: number): EvaluationEvent => ({
  ...{ type: 'evaluation', step: n, tokens: n, best: true },
  scores: [
    { exit: '3:mlp', layer: 3, loss, perplexity: 1, accuracy: 0, agreement: 0.5 },
    { exit: 'final', layer: 12, loss: 2, perplexity: 1, accuracy: 0, agreement: 1 },
  ],
});

describe('points of events', () => {
  it('are columns; what is no number becomes a gap', () => {
    const events: TuneEvent[] = [
      { type: 'phase', phase: 'tune', detail: '' },
      evaluation(0, 9),
      step(1, { '3:mlp': 8 }),
      { ...step(2, { '3:mlp': Number.NaN, '6:mlp': 3 }), gaps: { '3:mlp': 0.5 } },
      evaluation(2, 7),
    ];
    expect(pointsOf('r', events)).toEqual({
      type: 'points',
      run: 'r',
      training: { steps: [1, 2], values: { '3:mlp': [8, null], '6:mlp': [null, 3] } },
      gaps: { steps: [2], values: { '3:mlp': [0.5] } },
      heldOut: { steps: [0, 2], values: { '3:mlp': [9, 7], final: [2, 2] } },
      agreement: { steps: [0, 2], values: { '3:mlp': [0.5, 0.5], final: [1, 1] } },
    });
    expect(pointsOf('r', [events[0]!])).toBeNull();
  });

  it('of steps that a resumed run repeats are the later ones', () => {
    const losses = (n: number) => ({ '3:mlp': n });
    const events = [
      ...[evaluation(0, 9), step(1, losses(1)), step(2, losses(2)), step(3, losses(3)), evaluation(3, 30)],
      ...[evaluation(1, 11), step(2, losses(20)), step(3, losses(31))],
    ];
    const points = pointsOf('r', events);
    expect(points?.training).toEqual({ steps: [1, 2, 3], values: { '3:mlp': [1, 20, 31] } });
    expect(points?.heldOut.steps).toEqual([0, 1]);
  });
});

describe('the plan of a run', () => {
  const planned = (fit: number): TuneEvent => ({
    ...{ type: 'minutes', minutes: 2, evaluationTokens: 512, fitTokens: 512, updates: 3 },
    ...{ seconds: { evaluation: 12, fit, updates: 60, calibration: 12 }, minutesNeeded: null },
  });

  it('is the last one told, in seconds', () => {
    const plan = { total: 120, evaluation: 12, fit: 9, updates: 60, calibration: 12 };
    expect(planOf('r', [planned(30), step(1, {}), planned(9)])).toEqual({ type: 'plan', run: 'r', plan });
    expect(planOf('r', [step(1, {})])).toBeNull();
  });
});
