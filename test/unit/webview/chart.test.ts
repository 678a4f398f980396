import { describe, expect, it } from 'vitest';
import { palette, shades, type Shade } from '../../../protocol/palette.ts';
import { readHostMessage, readViewMessage } from '../../../protocol/webview.ts';
import {
  chartModel,
  initialState,
  isLogarithmic,
  legendExits,
  readState,
  type CurvesState,
} from '../../../webview/chart-model.ts';
import { noPoints, type RunPoints } from '../../../webview/columns.ts';
import type { CurveRun } from '../../../protocol/webview.ts';
import { doneShare, duration, later, planParts } from '../../../webview/run-figures.ts';
import { logTicks, ticks, toCsv, toSvg, valueRange } from '../../../webview/exports.ts';

const points: RunPoints = {
  training: { steps: [1, 2, 3, 4], values: { '3:mlp': [4, 3, 2, 1], '12:lens': [2, null, 2, 2] } },
  gaps: { steps: [1, 2, 3, 4], values: { '3:mlp': [2.5, 1.5, 0.75, -0.25], '12:lens': [0.5, 0.25, 0.25, 0] } },
  heldOut: { steps: [0, 4], values: { '3:mlp': [5, 1.5], '12:lens': [3, 2.5], final: [1, 1] } },
  agreement: { steps: [0, 4], values: { '3:mlp': [0.1, 0.4], final: [1, 1] } },
};
const marks = Object.fromEntries(shades.map((shade) => [shade, palette[shade].mark.dark])) as Record<Shade, string>;
const runs = new Map([
  ['a', points],
  ['b', noPoints()],
]);
const state = { ...initialState(), view: 'loss', front: 'a', smoothing: 0 } as const satisfies CurvesState;

describe('the chart model', () => {
  it('has curves by exit and the line to reach', () => {
    const model = chartModel(runs, { ...state, compared: ['b', 'gone'] }, 500);
    expect(model.curves.map(({ exit, kind, shade }) => [exit, kind, shade])).toEqual([
      ['3:mlp', 'raw', 'exit1'],
      ['3:mlp', 'heldOut', 'exit1'],
      ['12:lens', 'raw', 'exit6'],
      ['12:lens', 'heldOut', 'exit6'],
    ]);
    expect(model.references).toEqual([{ run: 'a', place: 0, value: 1 }]);
    expect(model.range).toEqual([0, 4]);
    expect(legendExits(runs, state)).toEqual(['3:mlp', '12:lens']);
  });

  it('at first shows the gap to the final exit on the same tokens: 0 is the line to reach', () => {
    expect(initialState().view).toBe('gap');
    const model = chartModel(runs, { ...state, view: 'gap' }, 500);
    expect(model.curves.map(({ exit, kind, values }) => [exit, kind, values])).toEqual([
      ['3:mlp', 'raw', [2.5, 1.5, 0.75, -0.25]],
      ['3:mlp', 'heldOut', [4, 0.5]],
      ['12:lens', 'raw', [0.5, 0.25, 0.25, 0]],
      ['12:lens', 'heldOut', [2, 1.5]],
    ]);
    expect(model.references).toEqual([{ run: 'a', place: 0, value: 0 }]);
    // A gap below 0 is seen, too, and on no logarithmic scale.
    expect(valueRange(model, false)[0]).toBeLessThan(-0.25);
    expect(isLogarithmic({ ...state, view: 'gap', logarithmic: true })).toBe(false);
  });

  it('shows the evaluations alone where steps tell no gap', () => {
    const untold = new Map([['a', { ...points, gaps: noPoints().gaps }]]);
    const model = chartModel(untold, { ...state, view: 'gap' }, 500);
    expect(model.curves.map(({ kind }) => kind)).toEqual(['heldOut', 'heldOut']);
    expect(model.range).toEqual([0, 4]);
  });

  it('leaves hidden exits out, keeps raw points beside smoothed ones, and follows the zoom', () => {
    const model = chartModel(runs, { ...state, smoothing: 0.5, hidden: ['12:lens', 'final'], zoom: [2.5, 3] }, 500);
    expect(model.curves.map(({ exit, kind }) => [exit, kind])).toEqual([
      ['3:mlp', 'raw'],
      ['3:mlp', 'smooth'],
      ['3:mlp', 'heldOut'],
    ]);
    expect(model.curves[0]!.steps).toEqual([2, 3, 4]);
    expect(model.references).toEqual([]);
  });

  it('thins 100,000 points to what a screen shows, quickly', () => {
    const steps = Array.from({ length: 100_000 }, (_, i) => i + 1);
    const values = Object.fromEntries(
      ['2:mlp', '4:mlp', '6:mlp'].map((exit, k) => [exit, steps.map((n) => k + Math.sin(n))]),
    );
    const large = new Map([['a', { ...noPoints(), training: { steps, values } }]]);
    const model = chartModel(large, { ...state, smoothing: 0.9 }, 800);
    expect(model.curves).toHaveLength(6);
    expect(model.curves[0]!.steps.length).toBeLessThan(12_000);
    const [low, high] = valueRange(model, false);
    expect(low).toBe(0);
    expect(high).toBeCloseTo(3 + 0.06 * 4, 3);
  });

  it('reads a state that was kept, and falls back where it is of another shape', () => {
    const kept = { ...state, view: 'loss', zoom: [1, 2], hidden: ['3:mlp'], logarithmic: true };
    expect(readState(JSON.parse(JSON.stringify(kept)))).toEqual(kept);
    expect(readState({ zoom: [3, 1], hidden: 'x', smoothing: 2, front: 4 })).toEqual(initialState());
    expect(readState(undefined)).toEqual(initialState());
  });
});

describe('exports', () => {
  it('hold every point as CSV', () => {
    expect(toCsv([{ title: 'a, "b"', points }]).split('\n')).toEqual([
      'run,step,exit,training_loss,training_gap,held_out_loss,agreement',
      '"a, ""b""",0,3:mlp,,,5,0.1',
      '"a, ""b""",0,12:lens,,,3,',
      '"a, ""b""",0,final,,,1,1',
      '"a, ""b""",1,3:mlp,4,2.5,,',
      '"a, ""b""",1,12:lens,2,0.5,,',
      '"a, ""b""",2,3:mlp,3,1.5,,',
      '"a, ""b""",2,12:lens,,0.25,,',
      '"a, ""b""",3,3:mlp,2,0.75,,',
      '"a, ""b""",3,12:lens,2,0.25,,',
      '"a, ""b""",4,3:mlp,1,-0.25,1.5,0.4',
      '"a, ""b""",4,12:lens,2,0,2.5,',
      '"a, ""b""",4,final,,,1,1',
      '',
    ]);
  });

  const drawing = {
    ...{ width: 400, height: 300, title: 'A <run>', logarithmic: true },
    ...{ background: '#000', foreground: '#fff', grid: '#333', marks },
    ...{ stepText: 'Step', valueText: 'Loss', finalText: 'final exit' },
  };

  it('have a legend that goes on below itself, above the plot', () => {
    const model = chartModel(runs, state, 500);
    const curves = Array.from({ length: 7 }, (_, i) => ({ ...model.curves[0]!, exit: `${i + 1}:lens` }));
    const svg = toSvg({ ...model, curves }, drawing);
    const places = [...svg.matchAll(/<rect x="(\d+)" y="(\d+)" width="10"/g)].map(([, x, y]) => [Number(x), Number(y)]);
    expect(places.map(([, y]) => y)).toEqual([28, 28, 28, 44, 44, 44, 60]);
    expect(Math.max(...places.map(([x]) => x!))).toBeLessThan(drawing.width - 60);
    expect(Number(/<clipPath id="plot"><rect x="\d+" y="(\d+)"/.exec(svg)![1])).toBeGreaterThan(70);
  });

  it('draw the same curves as SVG, with axes and a legend', () => {
    const svg = toSvg(chartModel(runs, state, 500), drawing);
    expect(svg.match(/<path /g)).toHaveLength(4);
    expect(svg.match(/<circle /g)).toHaveLength(4);
    expect(svg).toContain('A &lt;run&gt;');
    // The final exit's label stands right of the plot, where no dot is.
    const [label] = /<text x="([\d.]+)"[^>]*>final exit</.exec(svg)!.slice(1).map(Number);
    const dots = [...svg.matchAll(/<circle cx="([\d.]+)"/g)].map((match) => Number(match[1]));
    expect(label).toBeGreaterThan(Math.max(...dots) + 5);
    for (const shade of ['exit1', 'exit6'] as const) expect(svg).toContain(`stroke="${marks[shade]}"`);
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
  });

  it('put ticks at round numbers', () => {
    expect(ticks(0, 10, 5)).toEqual([0, 2, 4, 6, 8, 10]);
    expect(ticks(0.13, 0.52, 4)).toEqual([0.2, 0.3, 0.4, 0.5]);
  });
});

describe('the bar of a run', () => {
  it('is full once the run has finished, whatever step it ended at', () => {
    expect(doneShare({ state: 'running', share: 0.25 })).toBe(0.25);
    expect(doneShare({ state: 'finished', share: 0.25 })).toBe(1);
    expect(doneShare({ state: 'failed', share: 0.25 })).toBe(0.25);
    expect(doneShare({ state: 'running', share: null })).toBe(0);
  });

  it('goes on between two messages, and never beyond its end', () => {
    const run = { state: 'running', spent: 0, left: 60, share: 0, byMinutes: true } as CurveRun;
    expect(later(run, 15)).toMatchObject({ spent: 15, left: 45, share: 0.25 });
    expect(later(run, 75)).toMatchObject({ left: 0, share: 1 });
    expect(later({ ...run, state: 'paused' }, 15)).toMatchObject({ spent: 0, left: 60 });
    expect(later({ ...run, byMinutes: false, share: 0.5 }, 15)).toMatchObject({ left: 45, share: 0.5 });
  });

  it('shows the plan of the minutes in its parts, as far as they are over', () => {
    const plan = { total: 60, evaluation: 6, fit: 0, updates: 44, calibration: 6 };
    expect(planParts(plan, 7)).toEqual([
      { part: 'start', seconds: 4, done: 1 },
      { part: 'held-out', seconds: 6, done: 0.5 },
      { part: 'updates', seconds: 44, done: 0 },
      { part: 'calibration', seconds: 6, done: 0 },
    ]);
    expect(planParts(plan, 99).every(({ done }) => done === 1)).toBe(true);
    expect([60, 61, 600, 59.6].map(duration)).toEqual(['1 min', '1 min 1 s', '10 min', '1 min']);
  });
});

describe('messages between host and webview', () => {
  it('are taken when they have their shape and refused otherwise', () => {
    const columns = { steps: [1], values: { a: [2] } };
    const message = {
      type: 'points',
      run: 'r',
      training: columns,
      gaps: columns,
      heldOut: columns,
      agreement: columns,
    };
    expect(readHostMessage(message)).toBe(message);
    expect(readHostMessage({ ...message, training: { steps: [1, 2], values: { a: [2] } } })).toBeNull();
    expect(readHostMessage({ ...message, run: 3 })).toBeNull();
    expect(readHostMessage({ type: 'runs', runs: [{ id: 'r' }] })).toBeNull();
    const plan = { type: 'plan', run: 'r', plan: { total: 60, evaluation: 6, fit: 20, updates: 28, calibration: 6 } };
    expect(readHostMessage(plan)).toBe(plan);
    expect(readHostMessage({ ...plan, plan: { total: 60 } })).toBeNull();
    expect(readHostMessage({ type: 'eval', code: '1' })).toBeNull();
    expect(readHostMessage(null)).toBeNull();
    expect(readViewMessage({ type: 'stop', run: 'r', more: 1 })).toEqual({ type: 'stop', run: 'r' });
    expect(readViewMessage({ type: 'export', format: 'exe', name: 'a', data: '' })).toBeNull();
    expect(readViewMessage({ type: 'stop' })).toBeNull();
  });
});

it('a logarithmic axis has values, however near its ends are', () => {
  expect(logTicks(0.5, 30)).toEqual([0.5, 0.7, 1, 2, 3, 5, 7, 10, 20, 30]);
  expect(logTicks(3.05, 4.94)).toEqual([3.5, 4, 4.5]);
});
