/** Server-sent events to one client. A reader that falls far behind is let go, since what is written for it would only pile up. */
import type { ServerResponse } from 'node:http';

/** Most bytes that wait for a reader. */
const mostWaiting = 1 << 20;

export interface EventStream {
  send(value: object): void;
  /** The end as OpenAI's clients expect it. */
  done(): void;
}

export function openStream(response: ServerResponse, headers: Readonly<Record<string, string>>): EventStream {
  response.writeHead(200, {
    ...headers,
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache',
    'x-accel-buffering': 'no',
  });
  const write = (data: string): void => {
    if (response.destroyed) return;
    response.write(`data: ${data}\n\n`);
    if (response.writableLength > mostWaiting) response.destroy();
  };
  return {
    send: (value) => write(JSON.stringify(value)),
    done() {
      write('[DONE]');
      response.end();
    },
  };
}
