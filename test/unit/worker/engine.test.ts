import { describe, expect, it } from 'vitest';
import { createEngine, runInWorker } from '../../../backend/worker/engine.ts';
import { UserError } from '../../../protocol/errors.ts';
import { parseOptions } from '../../../protocol/options.ts';

const entry = new URL('./fake-entry.ts', import.meta.url);
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
  it('serves several readers and refuses a second job on the same model', async () => {
    const engine = createEngine({ entry });
    const job = engine.start('tune', options('counts'));
    const readers = [collect(job.read()), collect(job.read())];
    expect(() => engine.start('tune', options('counts'))).toThrow('counts is busy: tune is running on it.');
    const other = engine.start('tune', { ...options('counts'), model: 'waits' });
    const [first, second] = await Promise.all(readers);
    expect(first).toHaveLength(3);
    expect(second).toEqual(first);
    await job.finished;
    other.cancel();
    await expect(other.finished).rejects.toMatchObject({ code: 'cancelled' });
    await engine.dispose();
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
