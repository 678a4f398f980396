/** Tasks as a whole: written in every way, judged, and gone on with after an interruption to the same scores. */
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import type { EvaluateEvent } from '../../../protocol/events.ts';
import { parseOptions } from '../../../protocol/options/options.ts';
import { loadTokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import type * as Devices from '../../../backend/devices/devices.ts';
import { readEvaluation } from '../../../backend/evaluation/tasks/record.ts';
import { evaluateTasks } from '../../../backend/recipes/evaluate-tasks.ts';
import { tune } from '../../../backend/recipes/training/tune.ts';
import { shippedModel } from '../../support/golden.ts';

/** A card that is not there, in place of the device that would be chosen. */
const broken = vi.hoisted(() => ({ card: null as Devices.Device | null }));
vi.mock('../../../backend/devices/devices.ts', async (original) => {
  const devices = await original<typeof Devices>();
  const chooseDevice: typeof devices.chooseDevice = async (...wish) => broken.card ?? devices.chooseDevice(...wish);
  return { ...devices, chooseDevice };
});

let root: string;
let tasks: string;
let exits: string;
const { signal } = new AbortController();

const lines = [
  {
    form: 'code',
    id: 'c',
    language: 'javascript',
    prompt: 'function one() {\n  return',
    tests: 'require("assert").equal(one(), 1);',
  },
  {
    form: 'fill',
    id: 'f1',
    prefix: 'export const a = 1;\n',
    suffix: 'export const c = 3;\n',
    answer: 'export const b = 2;',
  },
  { form: 'fill', id: 'f2', prefix: 'function f() {\n', suffix: '}\n', answer: 'x', line: true },
  { form: 'number', id: 'n', prompt: 'const two = 1 +', answer: 1 },
  { form: 'text', id: 't', prompt: 'export const', answers: ['x'], metric: 'f1' },
  { form: 'choice', id: 'l', prompt: 'import * as path from', choices: ["'path'", 'zzz qqq'], answer: 0 },
];

beforeAll(async () => {
  root = mkdtempSync(path.join(tmpdir(), 'evaluate-tasks-'));
  process.env['EARLY_EXIT_CACHE'] = path.join(root, 'cache');
  tasks = path.join(root, 'mine.jsonl');
  writeFileSync(tasks, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  exits = path.join(root, 'my.exits');
  const given = {
    data: ['protocol/p*.ts'],
    model: shippedModel,
    exits: '2,11',
    initialise: 'copy',
    steps: 1,
  };
  const sizes = { sequenceLength: 64, evaluationTokens: 64, shortlist: 500, heldOutFraction: 0.3 };
  const run = tune(parseOptions('tune', { ...given, ...sizes, device: 'cpu', exitDevice: 'cpu', out: exits }), signal);
  while (!(await run.next()).done);
}, 60_000);
afterAll(() => rmSync(root, { recursive: true, force: true }));

const options = (given: Record<string, unknown>) =>
  parseOptions('evaluate', {
    model: shippedModel,
    exits,
    tasks: [tasks],
    device: 'cpu',
    runCode: true,
    timedTasks: 2,
    answerTokens: 12,
    ways: 'lossless,calibrated,1,0',
    ...given,
  });

async function events(given: Record<string, unknown>, until?: AbortSignal): Promise<EvaluateEvent[]> {
  const all: EvaluateEvent[] = [];
  for await (const event of evaluateTasks(options(given), until ?? signal)) all.push(event);
  return all;
}
const judged = (all: readonly EvaluateEvent[]) => all.find((event) => event.type === 'judged')!.sets;
const answered = (all: readonly EvaluateEvent[]) => all.filter((event) => event.type === 'answer');

it('writes, judges and times every way, and goes on where it was stopped', async () => {
  const out = path.join(root, 'whole.tasks');
  const whole = await events({ out });
  const answers = answered(whole);
  // Likelihood is read at full depth alone.
  expect(answers).toHaveLength(6 * 4 + 1);
  const textOf = (way: string) =>
    answers
      .filter((each) => each.way === way && !each.set.endsWith('likelihood'))
      .map(({ task, answer }) => [task, answer])
      .sort();
  expect(textOf('lossless')).toEqual(textOf('full'));
  expect(textOf('1')).toEqual(textOf('full'));
  expect(textOf('0')).not.toEqual(textOf('full'));
  expect(answers.find(({ task, set }) => task === 'l' && set.endsWith('likelihood'))).toMatchObject({
    answer: 'A',
    score: 1,
  });
  const sets = judged(whole);
  expect(sets.map(({ set, asked }) => [set, asked])).toEqual(
    ['code', 'fill', 'number', 'f1', 'letter', 'likelihood'].map((name) => [`mine: ${name}`, name === 'fill' ? 2 : 1]),
  );
  const fill = sets[1]!.ways;
  expect(fill.map(({ way }) => way)).toEqual(['full', 'lossless', '1', '0']);
  expect(fill[3]!.meanLayer).toBeLessThan(12);
  expect(fill[1]!.speed).toMatchObject({ texts: 2 });
  expect(whole.some((event) => event.type === 'warning' && /not calibrated/.test(event.message))).toBe(true);
  for (const { answer, task } of answers) if (task.startsWith('f')) expect(answer.trim().split('\n')).toHaveLength(1);

  const hash = createHash('sha256');
  for (const name of ['exits.json', 'exits.safetensors']) hash.update(readFileSync(path.join(exits, name)));
  expect(readEvaluation(out).identity.exitsSha256).toBe(hash.digest('hex'));
  expect(readEvaluation(out).identity.tokenizerSha256).toBe(loadTokenizer(shippedModel).fingerprint());

  // Stopped in the middle, then gone on with: the same scores.
  const stopping = new AbortController();
  const half = path.join(root, 'half.tasks');
  await expect(async () => {
    let seen = 0;
    for await (const event of evaluateTasks(options({ out: half }), stopping.signal))
      if (event.type === 'answer' && ++seen === 9) stopping.abort(new Error('stopped'));
  }).rejects.toThrow('stopped');
  const kept = readFileSync(path.join(half, 'answers.jsonl'), 'utf8').split('\n').length - 1;
  expect(kept).toBeGreaterThanOrEqual(9);
  const rest = await events({ out: half });
  expect(answered(rest)).toHaveLength(25 - kept);
  const still = (given: ReturnType<typeof judged>) =>
    given.map(({ set, ways }) => [
      set,
      ways.map(({ way, score, difference, meanLayer }) => ({ way, score, difference, meanLayer })),
    ]);
  expect(still(judged(rest))).toEqual(still(sets));
  // And once all is done, nothing is written again.
  expect(answered(await events({ out: half }))).toEqual([]);
});

it('tells that the CPU has taken over while speeds are measured, and compares no speeds of two devices', async () => {
  const out = path.join(root, 'card.tasks');
  const ways = 'lossless';
  await events({ out, ways, timedTasks: 0 });
  const gpu = { kind: 'vulkan', file: null, name: 'NoSuch0', description: 'card', free: 1, total: 1, software: false, integrated: false } as const; // prettier-ignore
  broken.card = { kind: 'vulkan', share: { gpu, layers: 2 }, name: 'card', reason: '', named: false };
  const all = await events({ out, ways }).finally(() => (broken.card = null));
  expect(all.flatMap((event) => (event.type === 'warning' ? [event.message] : []))).toContainEqual(
    expect.stringMatching(/^The device card failed: .* Going on with the CPU\.$/),
  );
  const { about, times } = readEvaluation(out);
  expect(about.device).toBe('cpu');
  expect(new Set(times.map(({ device }) => device))).toEqual(new Set(['cpu']));
  expect(judged(all)[1]!.ways[1]!.speed).toMatchObject({ texts: 2 });

  // Times of another device are no times of this one.
  const file = path.join(out, 'times.jsonl');
  writeFileSync(file, readFileSync(file, 'utf8').replaceAll('"device":"cpu"', '"device":"card"'));
  await events({ out, ways });
  expect(readEvaluation(out).times).toHaveLength(2 * times.length);

  // Nor are those with other threads.
  for (let time = 0; time < 2; time++) await events({ out, ways, threads: 1 });
  expect(readEvaluation(out).times).toHaveLength(3 * times.length);
});

it('is stopped at once while answers are judged', async () => {
  const slow = path.join(root, 'slow.jsonl');
  const task = {
    form: 'code',
    language: 'javascript',
    prompt: '// Returns',
    tests: 'setTimeout(() => {}, 60_000);',
  };
  writeFileSync(slow, `${JSON.stringify(task)}\n`);
  const stopping = new AbortController();
  const started = performance.now();
  await expect(async () => {
    const evaluating = evaluateTasks(
      options({ tasks: [slow], answerTokens: 1, out: path.join(root, 'slow.tasks') }),
      stopping.signal,
    );
    for await (const event of evaluating)
      if (event.type === 'phase' && event.phase === 'generate')
        setTimeout(() => stopping.abort(new Error('stopped')), 2000);
  }).rejects.toThrow('stopped');
  expect(performance.now() - started).toBeLessThan(20_000);
});

it.each([
  [{ runCode: false }, /code that the model writes has to be run/],
  [{ answerTokens: 100_000 }, /mine\.jsonl:1: the prompt has \d+ tokens?, and with an answer of 100000/],
  [{ tasks: ['no-such.jsonl'] }, /no-such\.jsonl/],
])('%j is refused before anything is written', async (given, message) => {
  const out = path.join(root, 'refused.tasks');
  await expect(events({ out, ...given })).rejects.toThrow(message);
  expect(() => readFileSync(path.join(out, 'evaluation.json'))).toThrow();
});
