/**
 * Renders chat templates, which are programs that come with a model, within a budget: in a process that counts their steps, has little
 * memory, and is ended if it takes too long or no caller waits any more. A thread would not do: one step of the engine that allocates too
 * much memory ends the whole process. The process is kept for later calls. Knows no conversation.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { userError } from '../../../protocol/errors.ts';

/** Real templates take some 30 steps per turn, and write about as much as they are given. Starting the process counts as time. */
const budget = { steps: 300_000, output: 2 ** 25, seconds: 20 };
const memoryMegabytes = 256;
const idleSeconds = 60;

export type Rendered =
  | { readonly type: 'text'; readonly text: string }
  /** It cannot be parsed. */
  | { readonly type: 'unreadable'; readonly reason: string }
  /** The template refuses (`raise_exception`), or uses something that the engine does not support. */
  | { readonly type: 'refused'; readonly reason: string }
  | { readonly type: 'over'; readonly of: 'steps' | 'output' | 'memory' | 'time' };

let warm: ChildProcess | null = null;
let idle: NodeJS.Timeout | undefined;
let queue: Promise<unknown> = Promise.resolve();

/**
 * Renders a Jinja template with `values` (plain records). Each thread renders one after the other.
 * @throws UserError `cancelled` once the signal fires.
 */
export function renderTemplate(source: string, values: object, signal?: AbortSignal): Promise<Rendered> {
  const rendered = queue.then(() => renderNext(source, values, signal));
  queue = rendered.catch(() => {});
  return rendered;
}

async function renderNext(source: string, values: object, signal?: AbortSignal): Promise<Rendered> {
  if (signal?.aborted) throw cancelled();
  clearTimeout(idle);
  const child = (warm ??= openChild());
  hold(child, true);
  let leave = (): void => {};
  try {
    return await new Promise<Rendered>((resolve, reject) => {
      const onAbort = (): void => {
        end(child);
        reject(cancelled());
      };
      const onTime = (): void => {
        end(child);
        resolve({ type: 'over', of: 'time' });
      };
      // The process never ends on its own.
      const onExit = (): void => resolve({ type: 'over', of: 'memory' });
      const timer = setTimeout(onTime, 1000 * budget.seconds);
      const onMessage = (message: unknown): void => resolve(message as Rendered);
      child.once('message', onMessage).once('exit', onExit).once('error', reject);
      signal?.addEventListener('abort', onAbort);
      leave = () => {
        clearTimeout(timer);
        child.off('message', onMessage).off('exit', onExit).off('error', reject);
        signal?.removeEventListener('abort', onAbort);
      };
      child.send({ source, values, budget });
    });
  } finally {
    leave();
    hold(child, false);
    idle = setTimeout(() => end(child), 1000 * idleSeconds).unref();
  }
}

function openChild(): ChildProcess {
  const name = import.meta.url.endsWith('.ts') ? './template-child.mjs' : './template-child.js';
  const file = fileURLToPath(new URL(name, import.meta.url));
  const child = fork(file, {
    cwd: dirname(file),
    env: { ...process.env, NODE_OPTIONS: '' },
    execArgv: [`--max-old-space-size=${memoryMegabytes}`],
    // What V8 prints when memory is out is not shown.
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  });
  // One that ends between two renderings is opened anew.
  return child.on('exit', () => forget(child)).on('error', () => forget(child));
}

function end(child: ChildProcess): void {
  forget(child);
  child.kill('SIGKILL');
}

function forget(child: ChildProcess): void {
  if (warm === child) warm = null;
}

/** Whether this process waits for the other. */
function hold(child: ChildProcess, isWaitedFor: boolean): void {
  if (isWaitedFor) {
    child.ref();
    child.channel?.ref();
  } else {
    child.unref();
    child.channel?.unref();
  }
}

const cancelled = (): Error => userError('cancelled', 'Stopped while rendering a chat template.');
