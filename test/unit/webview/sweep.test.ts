import { describe, expect, it } from 'vitest';
import { calibrationMinutes, calibrationText, lacksText } from '../../../extension/runs/exits-texts.ts';
import { sweepOf } from '../../../extension/panels/curve-points.ts';
import type { CalibratedEvent, TuneEvent } from '../../../protocol/events.ts';
import { readHostMessage } from '../../../protocol/webview.ts';
import { installable } from '../../../webview/remedies.ts';
import { sweepShape } from '../../../webview/sweep-plot.ts';

const figure = (value: number) => ({ value, error: 0.01 });
const calibrated: CalibratedEvent = {
  ...{ type: 'calibrated', tokens: 3000, promise: { measure: 'agreement', limit: 0.99 }, certainty: 0.95 },
  brought: { speedup: figure(1.4), agreement: figure(0.993), regret: figure(0.002), machine: 'a machine', busy: 0 },
  sweep: [
    { threshold: 1, agreement: 1, speedup: 0.95 },
    { threshold: 0.9, agreement: 0.992, speedup: 1.3 },
    { threshold: 0.5, agreement: 0.9, speedup: 1.9 },
  ],
  ...{ exits: [], meanLayer: 8, layers: 12, fullDepth: 5, speedups: { exits: 1.4, fast: 1.5, lossless: 1.2 } },
  ...{ texts: 6, fastest: 'fast', seconds: 60 },
};
const events: TuneEvent[] = [{ type: 'expected', seconds: 81 }, calibrated];

describe('what a calibration brought', () => {
  it('goes to the panel as it was told', () => {
    const message = sweepOf('r', events)!;
    expect(message.sweep.chosen).toEqual({ agreement: 0.993, speedup: 1.4 });
    expect(readHostMessage(message)).toBe(message);
    expect(readHostMessage({ ...message, sweep: { rows: [{ agreement: 1 }], chosen: null } })).toBeNull();
    expect(sweepOf('r', [events[0]!])).toBeNull();
  });

  it('is drawn as speed over agreement, beside full depth', () => {
    const { points, chosen, full, up } = sweepShape(sweepOf('r', events)!.sweep);
    expect(points.map(({ title }) => title)).toEqual([
      'threshold 0.50: 1.90 ×, 90.0 %',
      'threshold 0.90: 1.30 ×, 99.2 %',
      'threshold 1.00: 0.95 ×, 100.0 %',
    ]);
    // The surer, the further right and, here, the slower: the lower.
    expect(points.map(({ x }) => x)).toEqual(points.map(({ x }) => x).sort((a, b) => a - b));
    expect(points.map(({ y }) => y)).toEqual(points.map(({ y }) => y).sort((a, b) => a - b));
    expect(full.x).toBeCloseTo(points[2]!.x, 6);
    expect(chosen!.y).toBeLessThan(full.y);
    for (const { y } of [...points, ...up]) expect(y).toBeGreaterThanOrEqual(0);
  });

  it('is said in a sentence', () => {
    expect(calibrationText(calibrated)).toMatch(/^1\.40 × as fast as full depth; 99\.3 % of tokens/);
    expect(calibrationText({ ...calibrated, brought: null, fastest: 'lossless' })).toBe(
      'leaving early brings nothing within the promise here. Drafting tokens ahead alone brings 1.20 ×, so the default mode is lossless.',
    );
    const tried = { speedup: { value: 1.014, error: 0.01 }, busy: 0.5 };
    expect(calibrationText({ ...calibrated, brought: null, tried, fastest: 'full' })).toBe(
      'leaving early keeps the promise, but does not pay by itself here (1.01 × full depth). Drafting tokens ahead brings nothing either, so the default mode is full. Other programs kept 0.5 cores busy meanwhile: calibrate again on a quiet machine for reliable speeds.',
    );
    expect(calibrationText({ ...calibrated, fastest: 'lossless' })).toMatch(
      /^1\.40 × as fast .* alone brings 1\.20 × and changes no text, so the default mode is lossless\./,
    );
  });

  it('is offered after a run that ended without one, with its minutes', () => {
    expect(calibrationMinutes(events)).toBeNull();
    expect(calibrationMinutes([events[0]!])).toBe(2);
    expect(calibrationMinutes([{ type: 'expected', seconds: 214 }])).toBe(4);
    expect(calibrationMinutes([])).toBe(2);
    const short = { type: 'warning', message: 'Too short.', lacks: 'text' } as const;
    expect([calibrationMinutes([short]), lacksText([short]), lacksText([])]).toEqual([null, 'Too short.', null]);
    const seconds = { evaluation: 6, fit: 5, updates: 41, calibration: 7 };
    const plan = { type: 'minutes', minutes: 1, seconds, evaluationTokens: 8192, fitTokens: 20_480 } as const;
    const planned = { ...plan, updates: 200, minutesNeeded: null };
    expect(calibrationMinutes([planned])).toBe(1);
    expect(calibrationMinutes([{ ...planned, seconds: { ...seconds, calibration: 0 } }])).toBe(2);
  });
});

describe('the doctor', () => {
  it('has a button for what it can install itself', () => {
    expect(installable('npx early-exit doctor --install vulkan')).toBe('vulkan');
    expect(installable('node cli.js doctor --install tensorflow-gpu')).toBe('tensorflow-gpu');
    expect(installable("install your graphics card's driver")).toBeNull();
    expect(installable(null)).toBeNull();
  });
});
