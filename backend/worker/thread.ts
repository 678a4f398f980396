/** Thread side of a job: runs one recipe at a time and posts its events. Knows the recipes only as a table. */
import { parentPort, workerData, type MessagePort } from 'node:worker_threads';
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
  type ThreadData,
} from '../../protocol/jobs.ts';
import { flaggedSignal } from './cancel.ts';
import { openInbox } from './inbox.ts';

/** Any recipe: that name, options and messages belong together is the request's type. */
type AnyRecipe = (
  options: unknown,
  signal: AbortSignal,
  inbox: Inbox<unknown>,
) => AsyncGenerator<JobEvents[JobName], void>;

/** Serves the host that started this thread. Throws on the main thread. */
export function serveHost(recipes: RecipeTable): void {
  if (!parentPort) throw new Error('This file runs in a worker thread only.');
  serve(parentPort, (workerData as ThreadData).cancelFlag, recipes);
}

function serve(port: MessagePort, cancelFlag: SharedArrayBuffer, recipes: RecipeTable): void {
  let cancel: (() => void) | null = null;
  let inbox = openInbox<JobMessages[JobName]>();
  const reply = (message: JobReply): void => port.postMessage(message);

  const run = async (name: JobName, options: unknown): Promise<void> => {
    const { signal, abort } = flaggedSignal(cancelFlag);
    cancel = abort;
    inbox = openInbox();
    signal.addEventListener('abort', () => inbox.wake());
    try {
      const recipe = recipes[name] as AnyRecipe;
      for await (const event of recipe(options, signal, inbox)) reply({ type: 'event', event });
      reply({ type: 'ended' });
    } catch (error) {
      const asked = signal.aborted && error === signal.reason;
      reply({ type: 'failed', error: toErrorRecord(asked ? userError('cancelled', 'Cancelled.') : error) });
    } finally {
      cancel = null;
    }
  };

  port.on('message', (request: JobRequest) => {
    switch (request.type) {
      case 'start':
        return void run(request.recipe, request.options);
      case 'message':
        return inbox.push(request.message);
      case 'cancel':
        return cancel?.();
      case 'leave':
        // Here no native call is on the stack: of a thread, this ends the thread alone.
        process.exit();
    }
  });
}
