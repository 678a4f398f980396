/** The host of `recipe-child.ts`: gives it one task at a time, watches its time and memory, and starts another where it died. */
import { fork, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { memoryOf, type Program } from './program.ts';

export type Task =
  | { readonly recipe: 'generate' | 'evaluate' | 'tune'; readonly options: Readonly<Record<string, unknown>> }
  | { readonly recipe: 'trace'; readonly file: string };

/** What the child says of a task, or what became of it. */
export type Outcome =
  | { readonly type: 'done'; readonly tokens: number }
  | { readonly type: 'refused'; readonly message: string }
  | { readonly type: 'broke'; readonly message: string };

export interface Performed {
  readonly outcome: Outcome;
  readonly seconds: number;
  /** Bytes: how far the process grew while it worked at most, and its size afterwards; 0 if the system has no /proc. */
  readonly growth: number;
  readonly resident: number;
}

export interface RecipeHost {
  perform(task: Task): Promise<Performed>;
  close(): Promise<void>;
}

export interface Bounds {
  readonly seconds: number;
  /** Growth at which a task is ended. */
  readonly bytes: number;
  /** A process that is larger after a task is not given another: what one model leaves in the allocator is not the next one's fault. */
  readonly resident: number;
}

const lookMilliseconds = 20;

export function openRecipeHost(program: Program, cache: string, bounds: Bounds): RecipeHost {
  let child: ChildProcess | null = null;
  const forget = (): void => void (child = null);

  const start = (): ChildProcess => {
    // Tests bundle it beside the program; from sources it reads and compiles hundreds of files.
    const bundle = path.join(path.dirname(program.at(-1)!), 'recipe-child.js');
    const [entry, ...execArgv] = existsSync(bundle)
      ? [bundle]
      : [path.join(import.meta.dirname, 'recipe-child.ts'), '--import', 'tsx'];
    const env = { ...process.env, EARLY_EXIT_CACHE: cache };
    const started = fork(entry, { execArgv, env, stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
    return started.once('exit', forget);
  };

  const close = async (): Promise<void> => {
    const worker = child;
    if (!worker) return;
    await new Promise((resolve) => {
      worker.once('exit', resolve);
      worker.kill('SIGKILL');
    });
  };

  return {
    async perform(task) {
      const worker = (child ??= start());
      let words = '';
      const hear = (data: Buffer): void => void (words = (words + data.toString()).slice(-2000));
      worker.stderr!.on('data', hear);
      const before = memoryOf(worker.pid!, 'VmRSS');
      const began = performance.now();
      let growth = 0;
      let cause: string | null = null;
      const end = (why: string): void => {
        cause ??= why;
        worker.kill('SIGKILL');
      };
      const looking = setInterval(() => {
        // A process that has just started grows by itself.
        if (before > 0) growth = Math.max(growth, memoryOf(worker.pid!, 'VmRSS') - before);
        if (growth > bounds.bytes) end(`it grew by ${(growth / 2 ** 20).toFixed(0)} MB`);
      }, lookMilliseconds);
      const timer = setTimeout(() => end(`it had not ended after ${bounds.seconds} s`), 1000 * bounds.seconds);
      const outcome = await new Promise<Outcome>((resolve) => {
        worker.once('message', (message) => resolve(message as Outcome));
        worker.once('exit', (code, signal) =>
          resolve({ type: 'broke', message: cause ?? `the process ended with ${signal ?? code}: ${words}` }),
        );
        worker.send(
          task,
          (error) => error && resolve({ type: 'broke', message: `the process is gone: ${error.message}` }),
        );
      });
      clearInterval(looking);
      clearTimeout(timer);
      worker.removeAllListeners('message').removeAllListeners('exit').once('exit', forget);
      worker.stderr!.off('data', hear);
      const resident = memoryOf(worker.pid!, 'VmRSS');
      if (resident > bounds.resident) await close();
      return { outcome, seconds: (performance.now() - began) / 1000, growth, resident };
    },
    close,
  };
}
