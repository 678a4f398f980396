/** A server for other programs, as an editor starts and stops it: one at a time, with a thread and a model of its own. */
import { describeError } from '../../protocol/errors.ts';
import { parseOptions, settingOrigin } from '../../protocol/options.ts';
import * as protocol from '../../protocol/server.ts';
import { startServing, type RunningServer } from '../server/serve.ts';
import type { Answering } from './models.ts';

/** Answers how to stop what is served. */
export function answerServing({ answer, notify, warn }: Answering): () => Promise<void> {
  let running: RunningServer | null = null;
  const stop = async (): Promise<void> => {
    const server = running;
    running = null;
    await server?.close();
  };
  answer(protocol.startServer, async ({ options }) => {
    await stop();
    let loaded = (): void => undefined;
    const ready = new Promise<void>((resolve) => (loaded = resolve));
    const server = await startServing(parseOptions('serve', options, settingOrigin), {
      onEvent(event) {
        if (event.type === 'serving') loaded();
        if (event.type === 'warning') warn(event.message);
      },
      onDefect: (error) => warn(String((error as Error).stack ?? error)),
    });
    running = server;
    const ended = (problem: string | null): void => {
      if (running !== server) return;
      running = null;
      notify(protocol.serverEnded, { problem });
    };
    await Promise.race([ready, server.finished]);
    server.finished.then(
      () => ended(null),
      (error: unknown) => ended(describeError(error)),
    );
    return { url: server.url, name: server.name };
  });
  answer(protocol.stopServer, async () => {
    await stop();
    return {};
  });
  return stop;
}
