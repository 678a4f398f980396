import { spawn, type ChildProcess } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { identityOf } from '../../../backend/system/processes.ts';
import { isOrphaned, runStore, type RunRecord } from '../../../backend/language-server/runs/store.ts';
import { snapshotText } from '../../../backend/language-server/runs/snapshot.ts';
import { createRuns, type Runs } from '../../../backend/language-server/runs/runs.ts';
import { resolveModel } from '../../../backend/recipes/at-hand/shipped-model.ts';
import { userError } from '../../../protocol/errors.ts';
import { shippedModel } from '../../../protocol/options/groups.ts';
import { doneShare, secondsLeft } from '../../../protocol/run-clock.ts';
import type { StepEvent } from '../../../protocol/events.ts';
import type { RunEvent, RunSummary } from '../../../protocol/server.ts';
import { fakeEngine } from './fake-engine.ts';

const step = (n: number): StepEvent => ({
  type: 'step',
  step: n,
  steps: 100,
  epoch: 0,
  tokens: 10 * n,
  tokensPerSecond: 50,
  learningRate: 1e-4,
  loss: 3,
  losses: { '3:mlp': 3 },
  gradientNorms: {},
  secondsLeft: 9,
});
const tuned = { type: 'tuned', directory: '/tmp/a.exits', step: 2, before: [], after: [], seconds: 1, stopped: false };
const warning = { type: 'warning', message: 'a' };
const until = async (probe: () => boolean): Promise<void> => {
  while (!probe()) await new Promise((resolve) => setTimeout(resolve, 5));
};

let folder: string;
let text: string;
let exits: string;
const writeCheckpoint = (): void => {
  mkdirSync(exits);
  writeFileSync(path.join(exits, 'exits.json'), '{}');
  writeFileSync(path.join(exits, 'exits.safetensors'), '');
};
let engine: ReturnType<typeof fakeEngine>;
let reported: RunEvent[];
let changed: RunSummary[];
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'runs-'));
  text = path.join(folder, 'text.md');
  writeFileSync(text, 'Some text.');
  exits = path.join(folder, 'a.exits');
  engine = fakeEngine();
  reported = [];
  changed = [];
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const make = (): Runs =>
  createRuns({
    engine,
    store: runStore(path.join(folder, 'runs')),
    reported: (event) => reported.push(event),
    changed: (run) => changed.push(run),
    warn: (message) => {
      throw new Error(message);
    },
  });

describe('a run', () => {
  it('has its minutes from the first second, and counts what all its sittings worked', async () => {
    const before = Date.now();
    const runs = make();
    const options = { model: 'm', exits: '3:mlp', out: exits, data: [text], preset: 'quick' };
    const { id, clock } = await runs.start('First', options);
    expect(clock?.minutes).toBe(1);
    expect(secondsLeft(runs.list()[0]!, Date.parse(clock!.since!) + 15_000)).toBeCloseTo(45, 1);
    await until(() => engine.jobs.length === 1);
    await new Promise((resolve) => setTimeout(resolve, 30));
    await runs.pause(id);
    writeCheckpoint();
    const paused = runs.list()[0]!.clock!;
    expect(paused.since).toBeNull();
    expect(paused.seconds).toBeGreaterThan(0.025);
    expect(paused.seconds).toBeLessThanOrEqual((Date.now() - before) / 1000);
    const { clock: again } = await runs.resume(id);
    expect(again).toMatchObject({ minutes: 1, seconds: paused.seconds });
    expect(doneShare(runs.list()[0]!, Date.parse(again!.since!) + 30_000)).toBeCloseTo((30 + paused.seconds) / 60, 6);
    const { clock: none } = await runs.start('By steps', { ...options, steps: 3, out: `${exits}-2` });
    expect(none?.minutes).toBeNull();
    await runs.dispose();
  });

  it('has the minutes that were planned if those of its preset were too few', async () => {
    const runs = make();
    const { id } = await runs.start('First', { model: 'm', out: exits, data: [text], preset: 'quick' });
    await until(() => engine.jobs.length === 1);
    engine.jobs[0]!.push({ type: 'minutes', minutes: 8 });
    await until(() => changed.some(({ clock }) => clock?.minutes === 8));
    await runs.pause(id);
    const { clock } = await runs.resume(id);
    expect(clock).toMatchObject({ minutes: 8 });
    await runs.dispose();
  });

  it('that begins again for want of a checkpoint has its whole time again', async () => {
    const runs = make();
    const { id } = await runs.start('First', { model: 'm', out: exits, data: [text], preset: 'quick' });
    await until(() => engine.jobs.length === 1);
    engine.jobs[0]!.push(step(1));
    await new Promise((resolve) => setTimeout(resolve, 30));
    await runs.pause(id);
    const { clock, step: done } = await runs.resume(id);
    expect([clock?.seconds, done]).toEqual([0, 0]);
    await runs.dispose();
  });

  it('that ends by itself without exits says what the user has to do', async () => {
    const runs = make();
    const { id } = await runs.start('First', { model: 'm', out: exits, data: [text] });
    await until(() => engine.jobs.length === 1);
    engine.jobs[0]!.push({ type: 'warning', message: 'Submit job.sh with sbatch.' });
    engine.jobs[0]!.end();
    await until(() => runs.list()[0]!.state === 'stopped');
    expect(runs.list().map((run) => [run.id, run.message])).toEqual([[id, 'Submit job.sh with sbatch.']]);
    await runs.dispose();
  });

  it('leaves the model that is trained further to its exits', async () => {
    const runs = make();
    await runs.start('First', { out: exits, data: [text] });
    await runs.start('Further', { continuePretraining: exits, out: `${exits}-2`, data: [text] });
    await until(() => engine.jobs.length === 2);
    const models = engine.jobs.map(({ options }) => options.model);
    expect(models.sort()).toEqual([resolveModel(shippedModel), shippedModel]);
    await runs.dispose();
  });

  it('reports in order and ends finished', async () => {
    const runs = make();
    const { id } = await runs.start('First', { model: 'm', exits: '3:mlp', out: '/tmp/a.exits', data: [text] });
    await until(() => engine.jobs.length === 1);
    expect(engine.jobs[0]!.options).toMatchObject({ model: 'm', resume: false, out: '/tmp/a.exits' });
    engine.jobs[0]!.push(step(1));
    engine.jobs[0]!.push(step(2));
    const stored = path.join(folder, 'runs', id, 'text.jsonl');
    expect(engine.jobs[0]!.options.data).toEqual([stored]);
    expect(readFileSync(stored, 'utf8')).toBe('{"text":"Some text."}\n');
    engine.jobs[0]!.push(tuned);
    engine.jobs[0]!.end();
    await until(() => runs.list()[0]!.state === 'finished');
    expect(reported.map(({ index, event }) => [index, event.type])).toEqual([
      [0, 'step'],
      [1, 'step'],
      [2, 'tuned'],
    ]);
    await until(() => !existsSync(stored));
    expect(runs.list()[0]).toMatchObject({ step: 2, steps: 100, tokensPerSecond: 50, exits: ['3:mlp'] });
    expect(runs.read(id, 1).events.map(({ index }) => index)).toEqual([1, 2]);
    await runs.dispose();
  });

  it('reads its text from the folder that is named, whatever that is called', async () => {
    const runs = make();
    const named = path.join(folder, 'my (app) [1]');
    mkdirSync(path.join(named, 'src', 'made'), { recursive: true });
    writeFileSync(path.join(named, 'src', 'a.md'), 'Mine.');
    writeFileSync(path.join(named, 'src', 'made', 'b.md'), 'Made.');
    await runs.start('First', { data: ['src/**/*.md', '!src/made/**'], out: exits }, named);
    await until(() => engine.jobs.length === 1);
    expect(readFileSync((engine.jobs[0]!.options.data as string[])[0]!, 'utf8')).toBe('{"text":"Mine."}\n');
    await runs.dispose();
  });

  it('refuses a bad setting by its name and records nothing', async () => {
    const runs = make();
    await expect(runs.start('Bad', { learningRate: 'fast' })).rejects.toThrow(
      'earlyExit.tuning.learningRate must be a number from 0 to 1, not "fast".',
    );
    expect(runs.list()).toEqual([]);
    expect(await runStore(path.join(folder, 'runs')).load()).toEqual([]);
  });

  it('pauses by saving and resumes from its checkpoint', async () => {
    const runs = make();
    const { id } = await runs.start('First', { data: [text], out: exits });
    await until(() => engine.jobs.length === 1);
    engine.jobs[0]!.push(warning);
    await until(() => reported.length === 1);
    writeCheckpoint();
    expect(await runs.pause(id)).toMatchObject({ state: 'paused', directory: exits });
    expect(engine.jobs[0]!.cancelled).toBe(true);
    writeFileSync(text, 'Edited meanwhile.');
    expect(await runs.resume(id)).toMatchObject({ state: 'running' });
    await until(() => engine.jobs.length === 2);
    expect(readFileSync((engine.jobs[1]!.options.data as string[])[0]!, 'utf8')).toBe('{"text":"Some text."}\n');
    expect(engine.jobs[1]!.options).toMatchObject({ resume: true });
    expect(await runs.stop(id)).toMatchObject({ state: 'stopped' });
    await runs.dispose();
  });

  it('goes on in its own folder, also if it was given none', async () => {
    const runs = make();
    const { id } = await runs.start('First', { data: [text] });
    await until(() => engine.jobs.length === 1);
    expect(engine.jobs[0]!.options).toMatchObject({ out: null, resume: false });
    writeCheckpoint();
    engine.jobs[0]!.push({ type: 'saved', path: exits, files: [] });
    await until(() => runs.list()[0]!.directory === exits);
    await runs.pause(id);
    await runs.resume(id);
    await until(() => engine.jobs.length === 2);
    expect(engine.jobs[1]!.options).toMatchObject({ out: exits, resume: true });
    await runs.dispose();
  });

  it('says whether there is work that a pause or a stop keeps', async () => {
    const runs = make();
    const { id } = await runs.start('First', { data: [text], out: exits });
    await until(() => engine.jobs.length === 1);
    const nothing = 'there was no work to keep yet.';
    expect(await runs.pause(id)).toMatchObject({ message: `Paused; ${nothing}` });
    expect(await runs.stop(id)).toMatchObject({ message: `Stopped; ${nothing}` });
    writeCheckpoint();
    expect(await runs.stop(id)).toMatchObject({ message: 'Stopped; the work is kept.' });
    await runs.dispose();
  });

  it('tells what went wrong', async () => {
    const runs = make();
    await runs.start('First', { data: [text] });
    await until(() => engine.jobs.length === 1);
    engine.jobs[0]!.end(userError('bad-data', 'There is no text.', 'Name some.'));
    await until(() => runs.list()[0]!.state === 'failed');
    expect(runs.list()[0]!.message).toBe('There is no text. Name some.');
    await runs.dispose();
  });
});

describe('a server that starts later', () => {
  it('takes up a run whose server left, with its events', async () => {
    const first = make();
    const { id } = await first.start('First', { model: 'm', data: [text], out: exits });
    await until(() => engine.jobs.length === 1);
    engine.jobs[0]!.push(step(1));
    engine.jobs[0]!.push(warning);
    await until(() => reported.length === 2);
    writeCheckpoint();
    await first.dispose();
    const second = make();
    await second.load(true);
    await until(() => engine.jobs.length === 2);
    expect(engine.jobs[1]!.options).toMatchObject({ model: 'm', resume: true });
    expect(second.read(id, 0).events.map(({ event }) => event.type)).toEqual(['step', 'warning']);
    expect(second.list()[0]).toMatchObject({ id, state: 'running', step: 1, data: [text] });
    await second.stop(id);
    await second.dispose();
    const third = make();
    await third.load(true);
    expect(third.list()[0]).toMatchObject({ id, state: 'stopped' });
    expect(engine.jobs).toHaveLength(2);
  });

  it.each(['stop', 'pause'] as const)(
    'leaves a run alone that was told to %s just before its server left',
    async (what) => {
      const first = make();
      const { id } = await first.start('First', { data: [text], out: exits });
      await until(() => engine.jobs.length === 1);
      await Promise.all([first[what](id), first.dispose()]);
      const second = make();
      await second.load(true);
      expect(second.list()[0]).toMatchObject({ id, state: what === 'stop' ? 'stopped' : 'paused' });
      expect(engine.jobs).toHaveLength(1);
      await second.dispose();
    },
  );

  it('reads all that is reported behind a line that a killed server left unfinished', async () => {
    const first = make();
    const { id } = await first.start('First', { data: [text], out: exits });
    await until(() => engine.jobs.length === 1);
    await first.dispose();
    writeFileSync(path.join(folder, 'runs', id, 'events.jsonl'), `${JSON.stringify(warning)}\n{"type":"st`);
    const second = make();
    await second.load(true);
    await until(() => engine.jobs.length === 2);
    engine.jobs[1]!.push(step(1));
    engine.jobs[1]!.push(step(2));
    await until(() => reported.length === 2);
    await second.dispose();
    const [stored] = await runStore(path.join(folder, 'runs')).load();
    expect(stored!.events.map(({ type }) => type)).toEqual(['warning', 'step', 'step']);
  });

  it('starts over a run that had saved nothing, and only shows one it may not take up', async () => {
    const first = make();
    await first.start('First', { data: [text] });
    await until(() => engine.jobs.length === 1);
    await first.dispose();
    const shown = make();
    await shown.load(false);
    expect(shown.list()[0]).toMatchObject({ state: 'paused' });
    const second = make();
    await second.load(true);
    await until(() => engine.jobs.length === 2);
    expect(engine.jobs[1]!.options).toMatchObject({ resume: false });
    await second.dispose();
  });
});

it('a text that cannot be written is an error, whenever it comes, and leaves nothing behind', async () => {
  for (let i = 0; i < 500; i++) writeFileSync(path.join(folder, `${i}.md`), 'Some text.');
  const file = path.join(folder, 'text.jsonl');
  symlinkSync(path.join(folder, 'nowhere', 'text'), `${file}.partial`);
  await expect(snapshotText([path.join(folder, '*.md')], file)).rejects.toMatchObject({ code: 'ENOENT' });
  expect(readdirSync(folder).filter((name) => !name.endsWith('.md'))).toEqual([]);
});

it('a server leaves aside what is no record of a run', async () => {
  const runs = make();
  await runs.start('a', { data: [text], out: exits });
  await runs.dispose();
  const [id] = readdirSync(path.join(folder, 'runs'));
  const whole = JSON.parse(readFileSync(path.join(folder, 'runs', id!, 'run.json'), 'utf8')) as RunRecord;
  const others: Record<string, unknown> = {
    none: null,
    list: [],
    bare: {},
    stateless: { ...whole, summary: { ...whole.summary, id: 'stateless', state: 'toString' } },
    elsewhere: { ...whole, summary: { ...whole.summary, id: '../elsewhere' } },
    ownerless: { ...whole, summary: { ...whole.summary, id: 'ownerless' }, owner: { pid: 'x', at: 0 } },
    endless: { ...whole, summary: { ...whole.summary, id: 'endless', secondsLeft: Infinity } },
  };
  for (const [name, content] of Object.entries(others)) {
    mkdirSync(path.join(folder, 'runs', name));
    writeFileSync(path.join(folder, 'runs', name, 'run.json'), JSON.stringify(content));
  }
  const found = await runStore(path.join(folder, 'runs')).load();
  expect(found.map(({ record }) => record.summary.id).sort()).toEqual([id, 'endless'].sort());
});

/** A process that waits, and the record of a run that it owns, written long ago. */
async function otherWindow(): Promise<{ child: ChildProcess; id: string; file: string }> {
  const runs = make();
  const { id } = await runs.start('First', { model: 'm', data: [text], out: exits });
  await until(() => engine.jobs.length === 1);
  await runs.dispose();
  engine.jobs.splice(0);
  const file = path.join(folder, 'runs', id, 'run.json');
  const child = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60_000)']);
  onTestFinished(() => void child.kill('SIGKILL'));
  const record = JSON.parse(readFileSync(file, 'utf8')) as RunRecord;
  writeFileSync(file, JSON.stringify({ ...record, owner: { ...identityOf(child.pid!), at: Date.now() - 3_600_000 } }));
  return { child, id, file };
}

describe('a run of another window', () => {
  it('is left to it however long it was silent, and taken up once its process is gone', async () => {
    const { child, id, file } = await otherWindow();
    const runs = make();
    await runs.load(true);
    // Longer than a look at the owner takes to come.
    await new Promise((resolve) => setTimeout(resolve, 800));
    expect(engine.jobs).toHaveLength(0);
    expect(runs.list()[0]).toMatchObject({ id, state: 'running' });
    const before = readFileSync(file, 'utf8');
    for (const act of [() => runs.resume(id), () => runs.stop(id), () => runs.pause(id)])
      await expect(act()).rejects.toThrow(`Another window runs First (process ${child.pid}).`);
    expect(readFileSync(file, 'utf8')).toBe(before);
    child.kill('SIGKILL');
    await until(() => engine.jobs.length === 1);
    await runs.dispose();
  });
});

describe('isOrphaned', () => {
  const record = (owner: RunRecord['owner']): RunRecord => ({ summary: {} as RunSummary, options: {}, owner });
  it('asks for the very process', () => {
    expect(isOrphaned(record(null))).toBe(true);
    const self = identityOf(process.pid);
    expect(isOrphaned(record(self))).toBe(false);
    // Its number is another process's by now; if start times are not known, that cannot be seen.
    if (self.started !== null) expect(isOrphaned(record({ ...self, started: 'long ago' }))).toBe(true);
    expect(isOrphaned(record({ pid: process.pid, started: null }))).toBe(false);
  });
});
