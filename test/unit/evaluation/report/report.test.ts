/** A report of made-up runs: the same bytes, nothing from outside, and what is wrong with a run shown as such. */
import fs, {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { ReportEvent } from '../../../../protocol/events.ts';
import { parseOptions } from '../../../../protocol/options/options.ts';
import { report } from '../../../../backend/recipes/report.ts';
import { inTheme } from '../../../../extension/panels/report-theme.ts';
import { csv, latex, markdown } from '../../../../backend/evaluation/report/formats.ts';
import { tableOf, type Figure } from '../../../../backend/evaluation/report/figure.ts';
import { svg } from '../../../../backend/evaluation/report/svg.ts';
import { bandOf } from '../../../../backend/evaluation/report/tuning-figures.ts';
import { evaluationsOf, findRuns } from '../../../../backend/evaluation/report/runs.ts';
import { overSpeed } from '../../../../backend/evaluation/report/task-figures.ts';
import { scoresOf } from '../../../../backend/evaluation/tasks/scores.ts';
import { openRecord, type AnswerLine } from '../../../../backend/evaluation/tasks/record.ts';

let root: string;
beforeAll(() => void (root = mkdtempSync(path.join(tmpdir(), 'report-'))));
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** An evaluation of four tasks, of which `done` are answered in every way. */
function evaluation(name: string, done: number): string {
  const folder = path.join(root, name);
  const record = openRecord(
    folder,
    { model: '<b>m', modelSha256: 'a', layers: 12, exits: ['8:lens'], exitsSha256: 'b', tasks: {}, options: {} },
    { ways: ['full', 'lossless', '0.8', '0'], margin: 2, sets: { mine: 4 }, processor: 'p', device: 'cpu' },
  );
  for (let task = 0; task < done; task++)
    for (const way of ['full', 'lossless', '0.8', '0']) {
      const isEarly = way === '0' || way === '0.8';
      const line: AnswerLine = {
        set: 'mine',
        task: `${task}`,
        way,
        answer: 'x',
        score: way === '0' && task === 1 ? 0 : 1,
        ending: null,
        stop: 'length',
        tokens: 4,
        layers: isEarly ? 40 : 48,
        left: isEarly ? { '8:lens': { identifier: 2 }, final: { keyword: 1, text: 1 } } : { final: { text: 4 } },
      };
      record.addAnswer(line);
    }
  for (let task = 0; task < Math.min(2, done); task++) {
    const took = (seconds: number) => ({ seconds, tokens: 10 });
    record.addTimes({
      set: 'mine',
      task: `${task}`,
      processor: 'p',
      device: 'cpu',
      ways: { full: took(2), lossless: took(1), '0.8': took(1.6), '0': took(0.8) },
    });
  }
  record.close();
  return folder;
}

async function page(
  runs: string[],
  given: Record<string, unknown> = {},
): Promise<{ html: string; events: ReportEvent[] }> {
  const out = path.join(root, 'report.html');
  const events: ReportEvent[] = [];
  for await (const event of report(parseOptions('report', { runs, out, ...given }), new AbortController().signal))
    events.push(event);
  return { html: readFileSync(out, 'utf8'), events };
}

describe('report', () => {
  it('is the same bytes for the same runs, and needs nothing from outside', async () => {
    const folder = evaluation('whole.tasks', 4);
    const { html } = await page([folder]);
    expect((await page([folder])).html).toBe(html);
    expect(html).not.toMatch(/<script|<link|<img|src=|@import|url\(/);
    // The one address is the name of SVG.
    expect(html.replaceAll('http://www.w3.org/2000/svg', '')).not.toMatch(/https?:/);
    expect(html).toContain("default-src 'none'");
    expect(html).toContain('prefers-color-scheme:dark');
    expect(html).toContain('@media print');
    expect(html).not.toContain('<b>m');
    for (const title of [
      'mine: scores',
      'mine: score over depth',
      'mine: score over measured speed',
      'mine: where tokens leave',
      'mine: where each kind of token leaves',
    ])
      expect(html).toContain(title);
    expect(html).not.toContain('unfinished');
    // Full depth needs 0.2 s a token, lossless half of it.
    expect(html).toContain('2.00 (2.00 … 2.00)');
  });

  it('shows an unfinished run as such, and one that is broken with the reason', async () => {
    const half = evaluation('half.tasks', 2);
    const broken = evaluation('broken.tasks', 1);
    appendFileSync(path.join(broken, 'answers.jsonl'), 'nonsense\n');
    const { html, events } = await page([root]);
    expect(html).toContain('unfinished: the slowest way has 2 of 4 tasks');
    expect(html).toContain('cannot be read');
    expect(html).toMatch(/broken\.tasks.*answers\.jsonl:5 is damaged/s);
    expect(events.filter(({ type }) => type === 'warning')).toHaveLength(1);
    rmSync(broken, { recursive: true });
    expect(half).toBeTruthy();
  });

  it('counts what is done within one set, and a way without an answer', () => {
    const folder = path.join(root, 'sets.tasks');
    const identity = { model: 'm', modelSha256: 'a', layers: 12, exits: [], exitsSha256: null, tasks: {}, options: {} };
    const about = { ways: ['full', '0'], margin: 2, sets: { few: 2, 'many: letter': 9, 'many: likelihood': 9 }, processor: 'p', device: 'cpu' }; // prettier-ignore
    const answer = (set: string, task: number, way: string) => ({ set, task: `${task}`, way, answer: 'x', score: 1, ending: null, stop: 'length', tokens: 1, layers: 1, left: {} }) as const; // prettier-ignore
    const progress = () => findRuns([folder]).map((run) => run.kind === 'evaluation' && run.progress);
    const record = openRecord(folder, identity, about);
    for (let task = 0; task < 9; task++) {
      record.addAnswer(answer('many: likelihood', task, 'full'));
      for (const way of ['full', '0']) {
        if (task < 7) record.addAnswer(answer('many: letter', task, way));
        if (task < 2) record.addAnswer(answer('few', task, way));
      }
    }
    expect(progress()).toEqual([{ done: 7, asked: 9 }]);
    for (const task of [7, 8]) for (const way of ['full', '0']) record.addAnswer(answer('many: letter', task, way));
    expect(progress()).toEqual([{ done: 2, asked: 2 }]);
    record.close();
    openRecord(folder, identity, { ...about, ways: ['full', '0', '0.5'] }).close();
    expect(progress()).toEqual([{ done: 0, asked: 2 }]);
    rmSync(folder, { recursive: true });
  });

  it('shows a folder that cannot be read as broken', async () => {
    const folder = path.join(root, 'beside');
    mkdirSync(path.join(folder, 'closed'), { recursive: true });
    const read = fs.readdirSync.bind(fs);
    const reading = vi.spyOn(fs, 'readdirSync').mockImplementation(((place: string, options: object) => {
      if (place.endsWith('closed')) throw Object.assign(new Error('EACCES'), { code: 'EACCES' });
      return read(place, options as { withFileTypes: true });
    }) as typeof fs.readdirSync);
    syncBuiltinESMExports();
    try {
      const { html, events } = await page([folder]);
      expect(html).toMatch(/Cannot read .*closed: permission is denied/);
      expect(events.filter(({ type }) => type === 'warning')).toHaveLength(1);
    } finally {
      reading.mockRestore();
      syncBuiltinESMExports();
      rmSync(folder, { recursive: true });
    }
  });

  it('says where metrics have no scores', () => {
    const folder = path.join(root, 'wrong.exits');
    mkdirSync(folder);
    const score = { exit: 'final', layer: 12, loss: 1, perplexity: 2, accuracy: 0.5, agreement: 1 };
    const lines = [{ type: 'step' }, { type: 'evaluation', step: 1, tokens: 2, scores: [score] }];
    const file = path.join(folder, 'metrics.jsonl');
    writeFileSync(file, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
    expect(evaluationsOf(folder)).toEqual([{ step: 1, tokens: 2, scores: [score] }]);
    appendFileSync(file, '{"type":"evaluation","step":1,"tokens":2}\n');
    expect(() => evaluationsOf(folder)).toThrow(/metrics\.jsonl:3: scores must be a list, but is missing/);
    rmSync(folder, { recursive: true });
  });

  it('shows a run once, however many paths lead to it', () => {
    const folder = evaluation('more/once.tasks', 1);
    symlinkSync(folder, path.join(root, 'linked.tasks'));
    const parent = path.dirname(folder);
    for (const paths of [
      [parent, folder],
      [folder, `${folder}/.`, path.join(root, 'linked.tasks')],
    ])
      expect(findRuns(paths).map(({ kind }) => kind)).toEqual(['evaluation']);
    for (const name of ['more', 'linked.tasks']) rmSync(path.join(root, name), { recursive: true });
  });

  it("takes the editor's theme in a view of it", async () => {
    const { html } = await page([evaluation('themed.tasks', 1)]);
    for (const isDark of [true, false]) {
      const shown = inTheme(html, isDark);
      expect(shown).not.toContain('prefers-color-scheme');
      expect(shown).toContain(`:root{color-scheme:${isDark ? 'dark' : 'light'}}`);
      expect(shown.includes('@media all')).toBe(isDark);
    }
  });

  it('writes every figure as files of its own', async () => {
    const figures = path.join(root, 'figures');
    await page([path.join(root, 'whole.tasks')], { figures });
    const files = readdirSync(figures);
    expect(files).toContain('whole-tasks-mine-score-over-speed.svg');
    for (const ending of ['csv', 'md', 'tex']) expect(files).toContain(`whole-tasks-mine-scores.${ending}`);
    const drawing = readFileSync(path.join(figures, 'whole-tasks-mine-where-tokens-leave.svg'), 'utf8');
    expect(drawing).toMatch(/^<svg xmlns="http:\/\/www.w3.org\/2000\/svg".*<style>.*<\/svg>$/s);
    expect(readFileSync(path.join(figures, 'whole-tasks-mine-where-tokens-leave.csv'), 'utf8')).toBe(
      ',8:lens,final\r\nfull,0,1\r\nlossless,0,1\r\n0.8,0.5,0.5\r\n0,0.5,0.5\r\n',
    );
  });

  it('gives figures of runs with one name files of their own', async () => {
    const figures = path.join(root, 'twins');
    const runs = [evaluation('one/twin.tasks', 2), evaluation('two/twin.tasks', 4)];
    const { events } = await page(runs, { figures });
    const saved = events.flatMap((event) => (event.type === 'saved' ? event.files : []));
    expect(new Set(saved).size).toBe(saved.length);
    expect(readdirSync(figures)).toContain('twin-tasks-mine-scores-2.csv');
    for (const folder of ['one', 'two']) rmSync(path.join(root, folder), { recursive: true });
  });

  it('refuses a folder without runs, and none', async () => {
    const empty = path.join(root, 'empty');
    mkdirSync(empty, { recursive: true });
    writeFileSync(path.join(empty, 'notes.txt'), '');
    await expect(page([empty])).rejects.toThrow(/empty holds no run/);
    await expect(page([path.join(root, 'nowhere')])).rejects.toThrow(/There is nothing at/);
    await expect(page([])).rejects.toThrow(/There is no run to report/);
  });
});

it('the bar of a way that has answered fewer tasks than full depth is around its score', () => {
  const identity = { model: 'm', modelSha256: 'a', layers: 12, exits: [], exitsSha256: 'b', tasks: {}, options: {} };
  const about = { ways: ['full', '0'], margin: 2, sets: { mine: 20 }, processor: 'p', device: 'cpu' };
  const rest = { set: 'mine', answer: 'x', ending: null, stop: 'length', tokens: 4, layers: 40, left: {} } as const;
  const tasks = Array.from({ length: 20 }, (_, task) => ({ task: `${task}`, score: task < 10 ? 1 : 0 }));
  // Full depth solves the first half, and the other way has seen no other tasks.
  const answers: AnswerLine[] = [
    ...tasks.map((each) => ({ ...rest, ...each, way: 'full' })),
    ...tasks.slice(0, 10).map((each) => ({ ...rest, ...each, way: '0' })),
  ];
  const took = { seconds: 1, tokens: 10 };
  const here = { processor: 'p', device: 'cpu' };
  const times = ['0', '1'].map((task) => ({ set: 'mine', task, ...here, ways: { full: took, '0': took } }));
  const [set] = scoresOf({ identity, about, answers, times });
  const [point] = overSpeed(set!, 'a')!.series[0]!.points;
  expect(point!.y).toBe(100);
  expect(point!.low).toBeLessThanOrEqual(100);
  expect(point!.high).toBeGreaterThanOrEqual(100);
});

it('a band joins seeds by update, though they have seen other numbers of tokens', () => {
  const score = (exit: string, loss: number) => ({ exit, layer: 1, loss, perplexity: 1, accuracy: 0, agreement: 0 });
  const run = (tokens: number, loss: number) => ({
    evaluations: [{ step: 50, tokens, scores: [score('1:lens', loss), score('final', 9)] }],
  });
  expect(bandOf([run(100, 2), run(110, 4)])).toEqual([{ x: 105, y: 3, low: 2, high: 4 }]);
});

it('a band joins seeds that were evaluated after other updates each, as far as all were tuned', () => {
  const evaluated = (step: number, loss: number) => ({
    step,
    tokens: 10 * step,
    scores: [{ exit: '8:lens', layer: 8, loss, perplexity: 1, accuracy: 0, agreement: 0 }],
  });
  const one = { evaluations: [evaluated(0, 6), evaluated(10, 4), evaluated(20, 3)] };
  const other = { evaluations: [evaluated(0, 8), evaluated(4, 6), evaluated(16, 3)] };
  expect(bandOf([one, other])).toEqual([
    { x: 0, y: 7, low: 6, high: 8 },
    { x: 100, y: 4.25, low: 4, high: 4.5 },
  ]);
});

describe('figures', () => {
  const figure: Figure = {
    id: 'a',
    title: 'A & B',
    note: '',
    kind: 'lines',
    x: 'x',
    y: 'y',
    series: [
      {
        name: 'one, two',
        shade: 'exit1',
        isLine: true,
        points: [
          { x: 1, y: 0.5, low: 0.4, high: 0.6 },
          { x: 3, y: 1 / 3, low: 0.3, high: 0.4 },
        ],
      },
    ],
  };

  it('are tables of their numbers', () => {
    const table = tableOf(figure);
    expect(csv(table)).toBe('series,x,y,low,high\r\n"one, two",1,0.5,0.4,0.6\r\n"one, two",3,0.3333,0.3,0.4\r\n');
    expect(markdown({ head: ['a', 'b'], rows: [['x|y', '1']] })).toBe('| a | b |\n|---|---:|\n| x\\|y | 1 |\n');
    expect(latex({ head: ['a_b', '%'], rows: [['1 ± 2', '−3']] })).toBe(
      '\\begin{tabular}{lr}\n  a\\_b & \\% \\\\\n  \\hline\n  1 $\\pm$ 2 & $-$3 \\\\\n\\end{tabular}\n',
    );
  });

  it('are drawn with their band, and text that is no markup', () => {
    const drawn = svg(figure);
    expect(drawn).toContain('aria-label="A &amp; B"');
    expect(drawn).toMatch(/<path class="b-exit1" d="M64 [\d.]+L704 [\d.]+L704 [\d.]+L64 [\d.]+Z"\/>/);
    expect(drawn).not.toContain('NaN');
  });

  it('are drawn of one point and of none', () => {
    for (const points of [[], [{ x: 2, y: 2 }]]) {
      const [series] = figure.series;
      const drawn = svg({ ...figure, series: [{ ...series!, points }] });
      expect(drawn).not.toMatch(/NaN|Infinity/);
    }
  });
});
