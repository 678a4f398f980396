/** A thread with recipes whose behaviour the options choose: `model` says what to do. */
import path from 'node:path';
import { threadId } from 'node:worker_threads';
import { serveHost } from '../../../backend/worker/thread.ts';
import { userError } from '../../../protocol/errors.ts';
import type { GenerateEvent, TuneEvent } from '../../../protocol/events.ts';
import type { RecipeTable } from '../../../protocol/jobs.ts';
import { commandNames, type GenerateOptions, type TuneOptions } from '../../../protocol/options/options.ts';

async function* tune(options: TuneOptions, signal: AbortSignal): AsyncGenerator<TuneEvent, void> {
  const detail = `thread ${threadId}`;
  switch (path.basename(options.model).replace('link', 'counts')) {
    case 'counts':
      for (let done = 1; done <= 3; done++) yield { type: 'progress', phase: 'tune', done, total: 3, unit: detail };
      return;
    case 'blocks': {
      yield { type: 'phase', phase: 'tune', detail };
      // Never lets its event loop turn, as a runtime that computes does.
      const end = Date.now() + 10_000;
      while (!signal.aborted && Date.now() < end);
      yield { type: 'warning', message: signal.aborted ? 'kept the work' : 'never saw the signal' };
      return;
    }
    case 'waits':
      yield { type: 'phase', phase: 'tune', detail };
      await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)));
      return;
    case 'refuses':
      throw userError('bad-model', 'model.gguf is truncated.', 'Download it again.');
    case 'crashes':
      yield { type: 'phase', phase: 'tune', detail };
      setTimeout(() => {
        throw new TypeError('nobody catches this');
      });
      await new Promise(() => {});
      return;
    case 'exits':
      yield { type: 'phase', phase: 'tune', detail };
      process.exit(7);
      return;
  }
}

/** Says its thread, then waits; a prompt `refuses` or `crashes` fails instead. */
async function* generate({ prompt }: GenerateOptions, signal: AbortSignal): AsyncGenerator<GenerateEvent, void> {
  yield { type: 'phase', phase: 'generate', detail: `thread ${threadId}` };
  if (prompt[0] === 'refuses') throw userError('bad-argument', 'No.', 'Ask again.');
  if (prompt[0] === 'crashes') throw new TypeError('a defect');
  await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)));
}

async function* unused(): AsyncGenerator<never, void> {
  throw new Error('not part of this test');
}

const others = Object.fromEntries(commandNames.map((name) => [name, unused])) as unknown as RecipeTable;
serveHost({ ...others, complete: unused, tune, generate });
