/** The guide is what its kept runs say. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { format, resolveConfig } from 'prettier';
import { expect, it } from 'vitest';
import { guide } from '../../scripts/guide.ts';
import { keptIn } from '../../scripts/kept-studies.ts';
import { pictures } from '../../scripts/guide-pictures.ts';
import { picture, pictureName, qualityOverSpeed } from '../../scripts/quality-speed.ts';
import { readResults } from '../bench/report.ts';
import { byKind, positions, questions, wholeText } from '../../scripts/guide-questions.ts';
import { acrossText, besideFirstText, parametersText, riseText, tokensText } from '../../scripts/guide-sentences.ts';
import { comparedText } from '../../scripts/guide-tables.ts';
import type { KeptGroup, SweepStudy, TasksStudy } from '../../scripts/study.ts';

const root = path.resolve(import.meta.dirname, '../..');
const page = path.join(root, 'docs/guide.md');

it('docs/guide.md and its pictures are made of the runs in docs/study (npm run docs)', async () => {
  const made = await format(guide(keptIn(root)), { ...(await resolveConfig(page)), filepath: page });
  expect(readFileSync(page, 'utf8')).toBe(made);
  for (const { name, drawing } of pictures(keptIn(root)))
    expect(readFileSync(path.join(root, 'docs/images', name), 'utf8')).toBe(drawing);
});

it("README's picture is made of the bench's own figures (npm run docs)", () => {
  const { exits } = readResults(path.join(root, 'docs'));
  expect(readFileSync(path.join(root, 'docs/images', pictureName), 'utf8')).toBe(picture(exits!));
  const { series, level } = qualityOverSpeed(exits!)!;
  // Every model has full depth's text, and what leaving by a promise brings beside bare thresholds.
  expect(series.length).toBeGreaterThan(1);
  // Exits of the model that ships are not faster by themselves: what it gains is by drafts.
  expect(series.map(({ name }) => name)).not.toContain('typescript-5m');
  expect(series.every(({ points }) => points.some(({ hasRing }) => hasRing))).toBe(true);
  for (const { points } of series) {
    expect(points.map(({ label }) => label)).toContain('0.5');
    expect(points.some(({ label, y }) => label === undefined && y === level!.y)).toBe(true);
  }
  expect(readFileSync(path.join(root, 'README.md'), 'utf8')).toContain(`docs/images/${pictureName}`);
});

it('every kept run answers a question, and each question without one says so', () => {
  const asked = new Set<string>();
  const kept = keptIn(root);
  guide((study) => {
    asked.add(study);
    return kept(study);
  });
  const names = readdirSync(path.join(root, 'docs/study')).map((name) => name.replace('.json', ''));
  expect(names.filter((name) => !asked.has(name))).toEqual([]);
  const empty = guide(() => null);
  expect(empty.match(/^## /gm)).toHaveLength(questions.length);
  expect(empty).toContain('Not answered yet');
});

const spread = (mean: number, deviation = 0.001) => ({ mean, deviation });
const group = (name: string, seeds: number, exits: Record<string, number>, final = 1): KeptGroup => ({
  name,
  seeds,
  exits: Object.entries(exits).map(([exit, value]) => ({ exit, loss: spread(value), agreement: spread(value) })),
  final: spread(final),
  tokens: spread(100),
  teraflops: null,
});
const study = (groups: KeptGroup[]): SweepStudy => ({
  kind: 'sweep',
  model: 'm',
  layers: 12,
  processor: 'p',
  options: {},
  groups,
});

it('two seeds show an order, and do not make a gap clear', () => {
  const said = (seeds: number): string =>
    comparedText(study([group('a', seeds, { '6:lens': 0.4 }), group('b', seeds, { '6:layer': 0.6 })]));
  expect(said(2)).toContain('(60.0 ± 0.1 %), more often than `6:lens`');
  expect(said(2)).toContain('With 2 seeds each, this was observed, but does not prove an order.');
  expect(said(3)).toContain('(60.0 ± 0.1 %), clearly more often than `6:lens`');
  expect(said(1)).toContain('With one seed each');
});

it('groups of the same exits are called by what tells them apart', () => {
  const text = comparedText(study([group('steps 25', 3, { '6:lens': 0.4 }), group('steps 100', 3, { '6:lens': 0.6 })]));
  expect(text).toContain('at `6:lens` steps 100 agrees most often');
  expect(text).toContain('clearly more often than steps 25');
});

it('exits tuned on one kind of text are compared on every kind', () => {
  const on = (text: string, value: number) => ({ text, exits: group('', 3, { '6:lens': value }).exits });
  const of = (name: string, book: number, chats: number): KeptGroup => ({
    ...group(name, 3, { '6:lens': book }),
    on: [on('book', book), on('chats', chats)],
  });
  const text = byKind(study([of('data ["book"]', 0.6, 0.2), of('data ["chats"]', 0.3, 0.5)]));
  expect(text).toMatch(/\| `chats` \| `6:lens` \| +30\.0 ± 0\.1 \| +50\.0 ± 0\.1 \| +3 \|/);
  expect(text).toContain('On `book`, at `6:lens` `book` agrees most often');
  expect(text).toContain('On `chats`, at `6:lens` `chats` agrees most often');
});

it('positions: from which depth on most tokens agree', () => {
  const text = positions(study([group('m', 3, { '4:lens': 0.3, '8:lens': 0.55, '10:lens': 0.7 })]));
  expect(text).toContain('most tokens agree from layer 8 on, 67 % of the depth');
  expect(text).toContain('after layer 10 of 12, agrees on 70.0 ± 0.1 %');
});

it('parameters: an architecture that is behind a smaller one is named, only if it clearly is', () => {
  const lens = group('exits 4:lens', 3, { '4:lens': 0.3 });
  const mlp = (agreement: number): SweepStudy => study([group('exits 4:mlp', 3, { '4:mlp': agreement }), lens]);
  expect(parametersText(mlp(0.2))).toContain('do not pay everywhere: `mlp` falls behind `lens` at layer 4.');
  expect(parametersText(mlp(0.2999))).toContain('no architecture is clearly behind one with fewer parameters');
  expect(parametersText(mlp(0.4))).toContain('no architecture is clearly behind');
});

it('positions: where agreement rises most, a layer', () => {
  const text = riseText(study([group('m', 3, { '2:lens': 0.3, '8:lens': 0.6, '10:lens': 0.75 })]));
  expect(text).toBe('Agreement rises most between layers 8 and 10 of 12: 7.5 points per layer.');
});

it('tokens: what more of them brought, and whether that has ended', () => {
  const tuned = (tokens: number, agreement: number): KeptGroup => ({
    ...group(`steps ${tokens}`, 3, { '8:lens': agreement }),
    tokens: spread(tokens),
  });
  const rising = tokensText(study([tuned(1000, 0.3), tuned(4000, 0.4), tuned(16_000, 0.48)]));
  expect(rising).toBe(
    '4 times as many tokens brought 8.0 to 10.0 points of agreement, and nothing has levelled off at 16,000 tokens.',
  );
  const level = tokensText(study([tuned(1000, 0.3), tuned(4000, 0.4), tuned(16_000, 0.41)]));
  expect(level).toContain('1 of 1 exit levelled off by 16,000 tokens');
});

it('weights: each run beside the first, and whether any is clearly better', () => {
  const beside = (agreement: number): string =>
    besideFirstText(study([group('a', 3, { '8:lens': 0.5 }), group('b', 3, { '8:lens': agreement })]));
  expect(beside(0.4)).toBe('No run is clearly better than a. Compared with it, b: −10.0 points at `8:lens` (clearly).');
  expect(beside(0.5001)).toBe(
    'No run is clearly better than a. Compared with it, b: 0.0 points at `8:lens` (not clearly).',
  );
  expect(beside(0.6)).toContain('Some run is clearly better than a.');
});

it('several models: whether the same leads', () => {
  const of = (model: string, lens: number): SweepStudy => ({
    ...study([group('exits 8:lens', 3, { '8:lens': lens }), group('exits 8:mlp', 3, { '8:mlp': 0.5 })]),
    model,
  });
  expect(acrossText([of('a', 0.6), of('b', 0.7)])).toBe(
    'Models agree: `lens` leads on a (100 tokens) and on b (100 tokens).',
  );
  expect(acrossText([of('a', 0.5001), of('b', 0.4)])).toBe(
    'Models differ: `lens` leads on a (100 tokens, not clearly), `mlp` leads on b (100 tokens).',
  );
  expect(acrossText([of('a', 0.6)])).toBe('');
});

it('the whole model: its own loss beside that of exits alone', () => {
  const groups = [
    group('continuePretraining null', 3, { '8:layer': 0.7 }, 1.7),
    group('continuePretraining 005.exits', 3, { '8:layer': 0.8 }, 1.6),
  ];
  expect(wholeText(study(groups))).toContain('falls: 1.700 ± 0.001 before, 1.600 ± 0.001 after');
});

const judgedWays = (...values: readonly number[]): TasksStudy => {
  const way = { tasks: 4, same: 1, tokens: 9, meanLayer: 6, left: {}, tokensPerSecond: 9, score: 0.5 };
  const verdict = { mean: 0, low: -0.1, high: 0.1, lost: 0, won: 0, p: 1, verdict: 'unclear' as const };
  return {
    kind: 'tasks',
    model: 'm',
    layers: 12,
    processor: 'p',
    exits: ['8:lens'],
    device: 'cpu',
    margin: 2,
    sets: [
      {
        set: 's',
        asked: 4,
        layers: 12,
        ways: [
          { ...way, way: 'full', difference: null, speed: null },
          ...values.map((value) => ({
            ...way,
            way: `${value}x`,
            left: { '8:lens': { keyword: 0.2 }, final: { keyword: 0.2, text: 0.6 } },
            difference: verdict,
            speed: { value, low: value - 0.1, high: value + 0.1, texts: 4 },
          })),
        ],
      },
    ],
  };
};
const keeps =
  (study: TasksStudy) =>
  (name: string): TasksStudy | null =>
    name === 'infilling-05b' ? study : null;

it('quality over speed is a picture that a page can show as it is', () => {
  const kept = keeps(judgedWays(1.2, 1.4));
  const drawn = pictures(kept);
  expect(drawn).toHaveLength(1);
  expect(drawn[0]!.drawing).toMatch(
    /^<svg [^>]+aria-label="s: score over measured speed">.*full depth 50.*<\/svg>\n$/s,
  );
  expect(guide(kept)).toContain('(images/infilling-05b.svg)');
  expect(guide(kept)).toContain('1.20 (1.10 … 1.30)');
  expect(guide(kept)).toContain('left early at 1.2x: keyword 50 %, text 0 %.');
});

it('a single way beside full depth is a line of the table, without a picture', () => {
  const kept = keeps(judgedWays(1.2));
  expect(pictures(kept)).toEqual([]);
  expect(guide(kept)).toContain('1.20 (1.10 … 1.30)');
  expect(guide(kept)).not.toContain('(images/infilling-05b.svg)');
});
