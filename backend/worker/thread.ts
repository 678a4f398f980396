/** Thread side of jobs: runs recipes, several at a time, and posts their events. Knows the recipes only as a table. */
import { parentPort, type MessagePort } from 'node:worker_threads';
import { userError } from '../../protocol/errors.ts';
import {
  toErrorRecord,
  type Inbox,
  type JobEvents,
  type JobMessages,
  type JobName,
  type JobReply,
  type JobRequest,
  type RecipeTable,
} from '../../protocol/jobs.ts';
import { flaggedSignal } from './cancel.ts';
import { openInbox, type OpenInbox } from './inbox.ts';

/** Any recipe: that name, options and messages belong together is the request's type. */
type AnyRecipe = (
  options: unknown,
  signal: AbortSignal,
  inbox: Inbox<unknown>,
) => AsyncGenerator<JobEvents[JobName], void>;

interface RunningJob {
  readonly inbox: OpenInbox<JobMessages[JobName]>;
  readonly cancel: () => void;
}

/** Serves the host that started this thread. Throws on the main thread. */
export function serveHost(recipes: RecipeTable): void {
  if (!parentPort) throw new Error('This file runs in a worker thread only.');
  serve(parentPort, recipes);
}

function serve(port: MessagePort, recipes: RecipeTable): void {
  const running = new Map<number, RunningJob>();
  const reply = (message: JobReply): void => port.postMessage(message);

  const run = async ({ job, recipe, options, cancelFlag }: Extract<JobRequest, { type: 'start' }>): Promise<void> => {
    const { signal, abort } = flaggedSignal(cancelFlag);
    const inbox = openInbox<JobMessages[JobName]>();
    signal.addEventListener('abort', () => inbox.wake());
    running.set(job, { inbox, cancel: abort });
    try {
      for await (const event of (recipes[recipe] as AnyRecipe)(options, signal, inbox))
        reply({ job, type: 'event', event });
      reply({ job, type: 'ended' });
    } catch (error) {
      const isCancelled = signal.aborted && error === signal.reason;
      reply({ job, type: 'failed', error: toErrorRecord(isCancelled ? userError('cancelled', 'Cancelled.') : error) });
    } finally {
      running.delete(job);
    }
  };

  port.on('message', (request: JobRequest) => {
    switch (request.type) {
      case 'start':
        return void run(request);
      case 'message':
        return running.get(request.job)?.inbox.push(request.message);
      case 'cancel':
        return running.get(request.job)?.cancel();
      case 'leave':
        // Here no native call is on the stack: of a thread, this ends the thread alone.
        process.exit();
    }
  });
}
