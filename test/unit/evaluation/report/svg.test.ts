/** Where the labels of a drawing stand. */
import { expect, test } from 'vitest';
import type { LinesFigure, Point } from '../../../../backend/evaluation/report/figure.ts';
import { svg } from '../../../../backend/evaluation/report/svg.ts';

/** The height of a label above its point; negative: it is below. */
function above(label: string, points: readonly Point[], level?: LinesFigure['level']): number {
  const series = [{ name: 'model', shade: 'exit1', isLine: false, points }] as const;
  const drawn = svg({ id: 'a', title: '', note: '', kind: 'lines', x: '', y: '', series, ...(level && { level }) });
  const base = Number(new RegExp(`y="([\\d.]+)">${label}</text>`).exec(drawn)![1]);
  const at = Number(new RegExp(`cy="([\\d.]+)" r="4"><title>[^<]*${label}`).exec(drawn)![1]);
  return at - base;
}
/** They open the axes: a unit is some hundred points. */
const corners: readonly Point[] = [
  { x: 0, y: 0 },
  { x: 6, y: 6 },
];

test('a label stands above its point, or below it if it would cross the level or cover a point', () => {
  const named = { x: 3, y: 3, label: 'calibrated' };
  expect(above('calibrated', [...corners, named])).toBeGreaterThan(0);
  expect(above('calibrated', [...corners, named], { name: 'level', y: 3.2 })).toBeLessThan(0);
  const covered = { x: 3.2, y: 3.2 };
  expect(above('calibrated', [...corners, named, covered])).toBeLessThan(0);
  expect(above('calibrated', [...corners, named, covered, { x: 3.3, y: 2.8 }])).toBeGreaterThan(0);
  // Behind the label's end nothing is covered.
  expect(above('calibrated', [...corners, named, { x: 5, y: 3.2 }])).toBeGreaterThan(0);
});

test('labels of points side by side stand above and below', () => {
  const points = [...corners, { x: 3, y: 3, label: '0.99' }, { x: 3.2, y: 3, label: '0.97' }];
  expect([above('0.99', points), above('0.97', points)].map(Math.sign).sort()).toEqual([-1, 1]);
});

test('a point that is labelled as its series is named by the legend alone', () => {
  const points = [
    { x: 0, y: 0, label: 'lossless' },
    { x: 1, y: 1, label: '0.9' },
  ];
  const series = [{ name: 'lossless', shade: 'exit1', isLine: false, points }] as const;
  const drawn = svg({ id: 'a', title: '', note: '', kind: 'lines', x: '', y: '', series });
  expect(drawn.match(/>lossless<\/text>/g)).toHaveLength(1);
  expect(drawn).toContain('>0.9</text>');
});

test('what has a ring is named in the legend', () => {
  const points = [
    { x: 0, y: 0, hasRing: true },
    { x: 1, y: 1 },
  ];
  const series = [{ name: 'model', shade: 'exit1', isLine: false, points }] as const;
  const drawn = svg({ id: 'a', title: '', note: '', kind: 'lines', x: '', y: '', series, ringed: 'as calibrated' });
  expect(drawn.match(/<circle class="l-exit1"/g)).toHaveLength(1);
  expect(drawn).toMatch(/<circle class="ring"[^>]*\/><text[^>]*>as calibrated</);
});

test('a run that diverged leaves the others drawn', () => {
  const points = (...ys: number[]): Point[] => ys.map((y, x) => ({ x, y }));
  const series = [
    { name: 'good', shade: 'exit1', isLine: true, points: points(3, 2) },
    { name: 'bad', shade: 'exit2', isLine: true, points: points(3, NaN) },
  ] as const;
  const drawn = svg({ id: 'a', title: '', note: '', kind: 'lines', x: '', y: '', series });
  expect(drawn).not.toContain('NaN');
  expect(drawn).toMatch(/d="M[\d.]+ [\d.]+L[\d.]+ [\d.]+"/);
});

const drawnLines = (names: readonly string[], points: readonly Point[] = corners): string => {
  const series = names.map((name) => ({ name, shade: 'exit1', isLine: true, points }) as const);
  return svg({ id: 'a', title: '', note: '', kind: 'lines', x: '', y: '', series });
};

test('lines of one colour have other dashes, in the drawing and in the legend, and names of their own', () => {
  const drawn = drawnLines(['one', 'two', 'three']);
  expect(drawn).toMatch(/<path class="l-exit1" d="[^"]*"><title>one</);
  const dashes = [...drawn.matchAll(/<path class="l-exit1" stroke-dasharray="([^"]*)"/g)].map(([, dash]) => dash);
  expect(new Set(dashes).size).toBe(2);
  for (const dash of dashes) expect(drawn).toContain(`<line class="l-exit1" stroke-dasharray="${dash}"`);
});

test('a line of one point is drawn as a point', () => {
  expect(drawnLines(['one'], [{ x: 1, y: 1 }])).toMatch(/<circle class="f-exit1"/);
});

test('long names of the legend have the room they need', () => {
  const long = 'exits 8:mlp,16:mlp,22:mlp, initialise fit, weighting dynamic';
  const placeOf = (name: string, drawn: string): string[] =>
    new RegExp(`<text x="([\\d.]+)" y="([\\d.]+)">${name}</text>`).exec(drawn)!.slice(1);
  const drawn = drawnLines([long, `${long} 2`]);
  expect([placeOf(long, drawn), placeOf(`${long} 2`, drawn)]).toEqual([
    ['82', '350'],
    ['82', '370'],
  ]);
  expect(placeOf('b', drawnLines(['a', 'b']))).toEqual(['242', '350']);
  const wider = 'exit '.repeat(40).trim();
  expect(drawnLines([wider])).toMatch(new RegExp(`<title>${wider}</title>exit [^<]*…</text>`));
});

test('a label at the right edge stands before its point', () => {
  const points = [...corners, { x: 6, y: 3, label: '0.95' }];
  const series = [{ name: 'model', shade: 'exit1', isLine: false, points }] as const;
  const drawn = svg({ id: 'a', title: '', note: '', kind: 'lines', x: '', y: '', series });
  expect(Number(/<text x="([\d.]+)"[^>]*>0\.95</.exec(drawn)![1])).toBeLessThan(690);
});
