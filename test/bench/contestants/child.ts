/** A contestant in a process of its own, so that its memory and its threads are its own. It answers one request at a time. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import type { Clock } from '../measure.ts';

/** What a child says, and the seconds that processors were busy with it. */
interface Answer {
  readonly value: unknown;
  readonly processor: number;
}

export interface Child {
  /**
   * Seconds of the work asked for by the child's clock, bytes (`memory`), or what else the request is answered with.
   * @throws Error if the child failed or ended.
   */
  ask<Value = number>(request: Readonly<Record<string, unknown>> & { readonly type: string }): Promise<Value>;
  end(): Promise<void>;
}

/** Starts a file, of this folder if it has no other. */
export function startChild(name: string, file: string, clock: Clock): Child {
  const child = fork(path.resolve(import.meta.dirname, file), { execArgv: [], silent: true });
  let output = '';
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (output = (output + text).slice(-2000)));
  return {
    async ask<Value>(request: { readonly type: string }) {
      const listening = new AbortController();
      const { signal } = listening;
      const answered = once(child, 'message', { signal }) as Promise<[Answer | { error: string }]>;
      const died = once(child, 'exit', { signal }).then(([code]): never => {
        throw new Error(`the process of ${name} ended with code ${code as number}: ${output}`);
      });
      // The one that comes too late is of no interest.
      for (const promise of [answered, died]) promise.catch(() => {});
      child.send(request);
      try {
        const [answer] = await Promise.race([answered, died]);
        if ('error' in answer) throw new Error(`${name}: ${answer.error}`);
        const isTimed = typeof answer.value === 'number' && request.type !== 'memory';
        return (clock === 'processor' && isTimed ? answer.processor : answer.value) as Value;
      } finally {
        listening.abort();
      }
    },
    async end() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill();
      await once(child, 'exit');
    },
  };
}
