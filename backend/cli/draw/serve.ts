/** `early-exit serve`: shows the server's address and model, until it is stopped. */
import type { ServeOptions } from '../../../protocol/options/options.ts';
import type { ServedModel, ServeEvent } from '../../../protocol/serving.ts';
import { jsonLine, shown, shownRecord } from '../../../protocol/shown.ts';
import { lineOf } from '../../server/http/log.ts';
import { startServing } from '../../server/serve.ts';
import type { Context } from '../context.ts';
import { openProgress } from './progress.ts';

/** Returns when the server has been stopped. @throws UserError if it cannot serve. */
export async function runServe(options: ServeOptions, json: boolean, { terminal, signal }: Context): Promise<void> {
  const { out, err } = terminal;
  const progress = openProgress(err);
  const say = (event: object, text: string): void => {
    if (json) out.write(`${jsonLine(event)}\n`);
    else progress.status.say(shown(text));
  };
  const onEvent = (event: ServeEvent): void => {
    if (event.type === 'phase' || event.type === 'progress' || event.type === 'warning') {
      progress.show(shownRecord(event));
    } else if (event.type === 'serving') {
      progress.end();
      say(event, description(event.model));
    }
  };
  const onDefect = (error: unknown): void =>
    void err.write(`${shown(String((error as Error).stack ?? error), { keep: '\n', limit: 20_000 })}\n`);
  const server = await startServing(options, { onEvent, onDefect, onRequest: (record) => say(record, lineOf(record)) });
  const { url, name } = server;
  say(
    { type: 'listening', url, name },
    `Listening at ${url}; requests get status 503 until the model is loaded. Ctrl-C stops it.`,
  );
  const stop = (): void => void server.close();
  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();
  try {
    await server.finished;
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    signal.removeEventListener('abort', stop);
    progress.status.clear();
  }
}

const description = ({ name, device, exits, parallel, contextLength }: ServedModel): string => {
  const leaving = exits.length === 0 ? 'without exits' : `exits ${exits.join(', ')}`;
  return `Ready: ${name} on ${device}, ${leaving}: ${parallel} texts at a time, each of up to ${contextLength} tokens.`;
};
