/** The folder of an evaluation: what was done is there after a kill, and it is of one evaluation only. */
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import {
  answersFile,
  openRecord,
  readEvaluation,
  timesFile,
  type About,
  type AnswerLine,
  type Identity,
  type Machine,
} from '../../../../backend/evaluation/tasks/record.ts';
import { scoresOf } from '../../../../backend/evaluation/tasks/scores.ts';
import { caught } from '../../formats/fixtures.ts';

let folder: string;
beforeEach(() => void (folder = join(mkdtempSync(join(tmpdir(), 'record-')), 'my.tasks')));
afterEach(() => rmSync(join(folder, '..'), { recursive: true, force: true }));

const identity: Identity = {
  model: 'm',
  modelSha256: 'a',
  tokenizerSha256: 'd',
  layers: 12,
  exits: ['8:lens'],
  exitsSha256: 'b',
  tasks: { 't.jsonl': { sha256: 'c', first: null } },
  options: { chat: false },
};
const here: Machine = { processor: 'p', device: 'cpu' };
const about: About = { ways: ['full', '0.8'], margin: 2, sets: { t: 2 }, ...here };
const took = (seconds: number) => ({ seconds, tokens: 10 });
const line = (task: string, way: string, score: number): AnswerLine => ({
  set: 't',
  task,
  way,
  answer: 'x',
  score,
  ending: null,
  stop: 'end-of-text',
  tokens: 4,
  layers: way === 'full' ? 48 : 40,
  left: way === 'full' ? { final: { text: 4 } } : { '8:lens': { text: 2 }, final: { text: 2 } },
});

it('keeps each answer as it is done, and drops a line that was cut off', () => {
  const first = openRecord(folder, identity, about);
  first.addAnswer(line('1', 'full', 1));
  first.addAnswer(line('1', '0.8', 1));
  first.close();
  appendFileSync(join(folder, answersFile), '{"set":"t","task":"2","wa');
  expect(readEvaluation(folder).answers).toHaveLength(2);
  const second = openRecord(folder, identity, about);
  expect(second.answers).toEqual([line('1', 'full', 1), line('1', '0.8', 1)]);
  second.addAnswer(line('2', 'full', 1));
  second.close();
  expect(readFileSync(join(folder, answersFile), 'utf8').split('\n')).toHaveLength(4);
  const [set] = scoresOf(readEvaluation(folder));
  expect(set).toMatchObject({ set: 't', asked: 2, layers: 12 });
  expect(set!.ways).toMatchObject([
    { way: 'full', tasks: 2, score: 1, difference: null, meanLayer: 12 },
    { way: '0.8', tasks: 1, meanLayer: 10, same: 1, left: { '8:lens': { text: 0.5 }, final: { text: 0.5 } } },
  ]);
});

it('goes on if its files of tasks are named in another order', () => {
  const [a, b] = [
    { sha256: 'a', first: null },
    { sha256: 'b', first: 3 },
  ];
  openRecord(folder, { ...identity, tasks: { a, b } }, about).close();
  openRecord(folder, { ...identity, tasks: { b, a } }, about).close();
  const other = { ...identity, tasks: { a, b: a } };
  expect(caught(() => openRecord(folder, other, about)).message).toMatch('its tasks are others');
});

it('keeps what comes behind a character that some call the end of a line', () => {
  const record = openRecord(folder, identity, about);
  const lines = [{ ...line('1', 'full', 1), answer: 'a\u2028b\u2029c\rd' }, line('2', 'full', 1)];
  for (const each of lines) record.addAnswer(each);
  record.close();
  expect(readEvaluation(folder).answers).toEqual(lines);
  const again = openRecord(folder, identity, about);
  expect(again.answers).toEqual(lines);
  again.close();
  expect(readEvaluation(folder).answers).toEqual(lines);
});

it('counts a task once whose time was measured again with further ways', () => {
  const record = openRecord(folder, identity, about);
  for (const way of ['full', '0.8']) for (const task of ['1', '2']) record.addAnswer(line(task, way, 1));
  for (const [task, full] of [
    ['1', 9],
    ['2', 9],
    ['1', 2],
    ['2', 2],
  ] as const)
    record.addTimes({ set: 't', task, ...here, ways: { full: took(full), '0.8': took(1) } });
  // What another sitting did not measure stays measured.
  for (const task of ['1', '2']) record.addTimes({ set: 't', task, ...here, ways: { full: took(1) } });
  record.close();
  const [, early] = scoresOf(readEvaluation(folder))[0]!.ways;
  expect(early!.speed).toMatchObject({ texts: 2, value: 2 });
});

/** The speed of the second way, as the folder shows it. */
const speed = () => scoresOf(readEvaluation(folder))[0]!.ways[1]!.speed?.value ?? null;

it('shows speeds of the device in use alone, and keeps those of others', () => {
  const card: Machine = { processor: 'p', device: 'card' };
  const record = openRecord(folder, identity, { ...about, ...card });
  for (const way of ['full', '0.8']) for (const task of ['1', '2']) record.addAnswer(line(task, way, 1));
  const add = (machine: Machine, full: number): void => {
    for (const task of ['1', '2'])
      record.addTimes({ set: 't', task, ...machine, ways: { full: took(full), '0.8': took(1) } });
  };
  add(card, 8);
  expect(speed()).toBe(8);
  // The CPU takes over.
  record.setDevice('cpu');
  expect(speed()).toBe(null);
  add(here, 2);
  expect(speed()).toBe(2);
  record.close();
  openRecord(folder, identity, { ...about, processor: 'another' }).close();
  expect(speed()).toBe(null);
  openRecord(folder, identity, { ...about, ...card }).close();
  expect(speed()).toBe(8);
});

it('compares no speeds of two numbers of threads; without one it is that of the processor, as in earlier versions', () => {
  const record = openRecord(folder, identity, about);
  for (const way of ['full', '0.8']) for (const task of ['1', '2']) record.addAnswer(line(task, way, 1));
  const add = (machine: Machine, full: number): void => {
    for (const task of ['1', '2'])
      record.addTimes({ set: 't', task, ...machine, ways: { full: took(full), '0.8': took(1) } });
  };
  add(here, 4);
  add({ ...here, threads: 1 }, 2);
  record.close();
  expect(speed()).toBe(4);
  openRecord(folder, identity, { ...about, threads: 1 }).close();
  expect(speed()).toBe(2);
  openRecord(folder, identity, { ...about, threads: 2 }).close();
  expect(speed()).toBe(null);
});

it('takes times of earlier versions for those of the sitting that wrote them', () => {
  const record = openRecord(folder, identity, about);
  for (const way of ['full', '0.8']) for (const task of ['1', '2']) record.addAnswer(line(task, way, 1));
  record.close();
  const old = ['1', '2'].map((task) => JSON.stringify({ set: 't', task, ways: { full: took(4), '0.8': took(1) } }));
  writeFileSync(join(folder, timesFile), `${old.join('\n')}\n{"set":"t","ta`);
  expect(speed()).toBe(4);
  const other = openRecord(folder, identity, { ...about, device: 'card' });
  expect(other.times.map(({ device }) => device)).toEqual(['cpu', 'cpu']);
  other.close();
  expect(speed()).toBe(null);
  openRecord(folder, identity, about).close();
  expect(speed()).toBe(4);
});

it('goes on with other ways, and with nothing else', () => {
  openRecord(folder, identity, about).close();
  openRecord(folder, identity, { ...about, ways: ['full'] }).close();
  expect(() => openRecord(folder, { ...identity, exitsSha256: 'other' }, about)).toThrow(/its exits are others/);
  expect(() => openRecord(folder, { ...identity, options: { chat: true } }, about)).toThrow(/had other prompts/);
  const retold = { ...identity, tokenizerSha256: 'other' };
  expect(() => openRecord(folder, retold, about)).toThrow(/its tokenizer or its chat template is another/);
});

it('goes on with a record of an earlier version, which knows no tokenizer', () => {
  const { tokenizerSha256, ...old } = identity;
  openRecord(folder, old, about).close();
  openRecord(folder, identity, about).close();
  expect(readEvaluation(folder).identity.tokenizerSha256).toBe(tokenizerSha256);
});

it('is written by one process at a time', () => {
  const record = openRecord(folder, identity, about);
  expect(() => openRecord(folder, identity, about)).toThrow(/evaluates into/);
  record.close();
});

it('says where a line is damaged', () => {
  openRecord(folder, identity, about).close();
  writeFileSync(join(folder, answersFile), '{"set":"t"}\n');
  expect(() => readEvaluation(folder)).toThrow(/answers\.jsonl:1: task must be a text/);
});

it('says what cannot be written', () => {
  const refusal = () => caught(() => openRecord(folder, identity, about));
  writeFileSync(folder, '');
  expect(refusal()).toMatchObject({
    code: 'file-system',
    message: `Cannot write ${folder}: a file is in the place of a folder.`,
  });
  rmSync(folder);
  mkdirSync(folder);
  const answers = join(folder, answersFile);
  symlinkSync(join(folder, 'gone', 'answers'), answers);
  expect(refusal()).toMatchObject({ code: 'not-found', message: `Cannot write ${answers}: it does not exist.` });
});
