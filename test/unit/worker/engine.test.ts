import { symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { describe, expect, it, vi } from 'vitest';
import { createEngine, runInWorker } from '../../../backend/worker/engine.ts';
import { UserError } from '../../../protocol/errors.ts';
import { parseOptions } from '../../../protocol/options/options.ts';
import { bundled } from '../../support/bundled.ts';
import { temporaryFolder } from '../formats/fixtures.ts';

const entry = pathToFileURL(bundled('fake-entry'));
const options = (model: string) => parseOptions('tune', { model });

async function collect<T>(events: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const event of events) all.push(event);
  return all;
}

describe('runInWorker', () => {
  it('streams the events of a recipe in order', async () => {
    const events = await collect(runInWorker('tune', options('counts'), { entry }));
    expect(events.map((event) => event.type === 'progress' && event.done)).toEqual([1, 2, 3]);
  });

  it('cancels a recipe that never lets its event loop turn', async () => {
    const controller = new AbortController();
    const seen: string[] = [];
    for await (const event of runInWorker('tune', options('blocks'), { entry, signal: controller.signal })) {
      seen.push(event.type === 'warning' ? event.message : event.type);
      controller.abort();
    }
    expect(seen).toEqual(['phase', 'kept the work']);
  });

  it('wakes a recipe that waits, and calls its end a cancellation', async () => {
    const controller = new AbortController();
    const run = async () => {
      for await (const event of runInWorker('tune', options('waits'), { entry, signal: controller.signal })) {
        if (event.type === 'phase') controller.abort();
      }
    };
    await expect(run()).rejects.toMatchObject({ name: 'UserError', code: 'cancelled' });
  });

  it('carries a user error across with its code and way out', async () => {
    const error: unknown = await collect(runInWorker('tune', options('refuses'), { entry })).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(UserError);
    expect(error).toMatchObject({
      code: 'bad-model',
      message: 'model.gguf is truncated.',
      wayOut: 'Download it again.',
    });
  });

  it('reports a crash and an exit', async () => {
    await expect(collect(runInWorker('tune', options('crashes'), { entry }))).rejects.toThrow('nobody catches this');
    await expect(collect(runInWorker('tune', options('exits'), { entry }))).rejects.toThrow(
      'The engine stopped while tune was running (exit code 7).',
    );
  });

  it('ends its thread when the reader leaves', async () => {
    const before = process.getActiveResourcesInfo().filter((kind) => kind === 'MessagePort').length;
    for await (const event of runInWorker('tune', options('waits'), { entry })) {
      expect(event.type).toBe('phase');
      break;
    }
    const after = process.getActiveResourcesInfo().filter((kind) => kind === 'MessagePort').length;
    expect(after).toBe(before);
  });
});

describe('createEngine', () => {
  it('serves several readers', async () => {
    const engine = createEngine({ entry });
    const job = engine.start('tune', options('counts'));
    const readers = [collect(job.read()), collect(job.read())];
    const other = engine.start('tune', { ...options('counts'), model: 'waits' });
    const [first, second] = await Promise.all(readers);
    expect(first).toHaveLength(3);
    expect(second).toEqual(first);
    await job.finished;
    other.cancel();
    await expect(other.finished).rejects.toMatchObject({ code: 'cancelled' });
    await engine.dispose();
  });

  it('runs the jobs of one model one after the other, by whatever path it is named', async () => {
    const folder = temporaryFolder();
    const [model, link] = [path.join(folder, 'counts'), path.join(folder, 'link')];
    writeFileSync(model, '');
    symlinkSync(model, link);
    const engine = createEngine({ entry, idleMilliseconds: 60_000 });
    const order: string[] = [];
    const jobs = [model, link, path.relative('.', model), model].map(async (name, i) => {
      const job = engine.start('tune', options(name));
      for await (const event of job.read())
        order.push(`${i} ${event.type === 'progress' ? `${event.done} ${event.unit}` : ''}`);
    });
    expect(engine.running(link)).toBe('tune');
    await Promise.all(jobs);
    const [, , thread] = order[0]!.split(/ (\d) /);
    expect(order).toEqual([0, 1, 2, 3].flatMap((i) => [1, 2, 3].map((done) => `${i} ${done} ${thread}`)));
    expect(engine.running(link)).toBeNull();
    await engine.dispose();
  });

  it('writes side by side in one thread of a model, beside what tunes it in another', async () => {
    const engine = createEngine({ entry, idleMilliseconds: 60_000 });
    const begin = async (prompt = 'waits') => {
      const job = engine.start('generate', parseOptions('generate', { model: 'waits', prompt: [prompt] }));
      const { value } = await job.read().next();
      return { job, thread: value?.type === 'phase' ? value.detail : null };
    };
    const tuning = engine.start('tune', options('waits'));
    const [event] = [await tuning.read().next()];
    const [one, two] = [await begin(), await begin()];
    expect(one.thread).toMatch(/^thread \d+$/);
    expect(two.thread).toBe(one.thread);
    expect(event.value).not.toMatchObject({ detail: one.thread });
    expect(engine.running('waits')).toBe('tune');
    // What a user can mend leaves the thread as it is; behind a defect the next text begins in another.
    expect((await begin('refuses')).thread).toBe(one.thread);
    const cancelled = one.job.finished.catch((error: unknown) => error);
    one.job.cancel();
    expect(await cancelled).toMatchObject({ code: 'cancelled' });
    expect((await begin()).thread).toBe(two.thread);
    const crashed = await begin('crashes');
    await expect(crashed.job.finished).rejects.toThrow('a defect');
    expect((await begin()).thread).not.toBe(two.thread);
    await engine.dispose();
  });

  it('leaves it to the recipe to refuse a model that cannot be looked at', async () => {
    const circle = path.join(temporaryFolder(), 'counts');
    symlinkSync(circle, circle);
    const engine = createEngine({ entry });
    expect(engine.running(circle)).toBeNull();
    await engine.dispose();
  });

  it('ends a job that waits when it is cancelled, and goes on after one that failed', async () => {
    const engine = createEngine({ entry });
    const first = engine.start('tune', options('waits'));
    const second = engine.start('tune', options('waits'));
    second.cancel();
    await expect(second.finished).rejects.toMatchObject({ code: 'cancelled' });
    first.cancel();
    await expect(first.finished).rejects.toMatchObject({ code: 'cancelled' });
    const third = engine.start('tune', options('waits'));
    expect(await third.read().next()).toMatchObject({ value: { type: 'phase' } });
    await engine.dispose();
  });

  it('fails a job whose thread cannot be opened, and goes on', async () => {
    const engine = createEngine({ entry: new URL('https://example.com/entry.js') });
    for (let i = 0; i < 2; i++) {
      const job = engine.start('tune', options('counts'));
      await expect(job.finished).rejects.toThrow(/file/);
      await expect(job.read().next()).rejects.toThrow(/file/);
    }
    expect(engine.running('counts')).toBeNull();
    await engine.dispose();
  });

  it('adds no listeners to a thread that it uses again', async () => {
    const listeners = vi.spyOn(Worker.prototype, 'on');
    const engine = createEngine({ entry, idleMilliseconds: 60_000 });
    const run = async (): Promise<unknown> => collect(engine.start('tune', options('counts')).read());
    await run();
    const opened = listeners.mock.calls.length;
    expect(opened).toBeGreaterThan(0);
    for (let i = 0; i < 12; i++) await run();
    expect(listeners.mock.calls).toHaveLength(opened);
    listeners.mockRestore();
    await engine.dispose();
  });

  it('never ends a thread from outside', async () => {
    const terminate = vi.spyOn(Worker.prototype, 'terminate');
    const engine = createEngine({ entry, graceMilliseconds: 10_000 });
    const job = engine.start('tune', options('blocks'));
    const outcome = job.finished.catch((error: unknown) => error);
    await job.read().next();
    await engine.dispose();
    expect(await outcome).toBeUndefined();
    expect(terminate).not.toHaveBeenCalled();
    terminate.mockRestore();
  });

  it('keeps a thread warm for the next job of its model only', async () => {
    const engine = createEngine({ entry, idleMilliseconds: 60_000 });
    const threadOf = async (model: string) => {
      const [event] = await collect(engine.start('tune', options(model)).read());
      return event?.type === 'progress' ? event.unit : null;
    };
    const first = await threadOf('counts');
    expect(first).toMatch(/^thread \d+$/);
    expect(await threadOf('counts')).toBe(first);
    await engine.dispose();
    const again = createEngine({ entry });
    const [event] = await collect(again.start('tune', options('counts')).read());
    expect(event?.type === 'progress' && event.unit).not.toBe(first);
    await again.dispose();
  });

  it('cancels what runs when it is disposed', async () => {
    const engine = createEngine({ entry });
    const job = engine.start('tune', options('waits'));
    const outcome = job.finished.catch((error: unknown) => error);
    await job.read().next();
    await engine.dispose();
    expect(await outcome).toMatchObject({ code: 'cancelled' });
  });
});
