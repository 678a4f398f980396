/** A server for other programs, as an editor starts and stops it: one at a time, in the session of its model. */
import { describeError, userError } from '../../protocol/errors.ts';
import { parseOptions, settingOrigin } from '../../protocol/options/options.ts';
import * as protocol from '../../protocol/server.ts';
import type { Engine } from '../worker/engine.ts';
import { startServing, type RunningServer } from '../server/serve.ts';
import type { Answering } from './models.ts';

/** Answers how to stop what is served. */
export function answerServing({ answer, notify, warn }: Answering, engine: Engine): () => Promise<void> {
  /** Starts and stops wait for each other until the server listens, so that none is lost. Null if it was stopped or never started. */
  let running: Promise<RunningServer | null> = Promise.resolve(null);
  const replaceBy = <Next extends RunningServer | null>(next: (hadOne: boolean) => Promise<Next>): Promise<Next> => {
    const before = running.catch(() => null);
    const now = before.then(async (server) => {
      await server?.close();
      return next(server !== null);
    });
    running = now;
    return now;
  };
  const stop = async (): Promise<void> => void (await replaceBy(() => Promise.resolve(null)));

  answer(protocol.startServer, async ({ options }) => {
    const serveOptions = parseOptions('serve', options, settingOrigin);
    let loaded = (): void => undefined;
    const ready = new Promise<void>((resolve) => (loaded = resolve));
    const opened = replaceBy((hadOne) => {
      // Whether another comes in its place is not known yet.
      if (hadOne) notify(protocol.serverEnded, { problem: null });
      return startServing(serveOptions, {
        engine,
        onEvent(event) {
          if (event.type === 'serving') loaded();
          if (event.type === 'warning') warn(event.message);
        },
        onDefect: (error) => warn(String((error as Error).stack ?? error)),
      });
    });
    const server = await opened;
    await Promise.race([ready, server.finished]);
    if (running !== opened) throw userError('cancelled', 'The server was stopped before its model was there.');
    const ended = (problem: string | null): void => {
      if (running === opened) notify(protocol.serverEnded, { problem });
    };
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
