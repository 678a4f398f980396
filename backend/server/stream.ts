/** Server-sent events to one client. A reader that falls far behind is let go, since what is written for it would only pile up. */
import type { ServerResponse } from 'node:http';

/** Most bytes that wait for a reader. */
const mostWaiting = 1 << 20;

export interface EventStream {
  send(value: object): void;
  /** The end as OpenAI's clients expect it. */
  done(): void;
}

/** `silenceMilliseconds`: a comment is sent after so long without an event, so that nobody in between takes the socket for idle. */
export function openStream(
  response: ServerResponse,
  headers: Readonly<Record<string, string>>,
  silenceMilliseconds: number,
): EventStream {
  response.writeHead(200, {
    ...headers,
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache',
    'x-accel-buffering': 'no',
  });
  const write = (line: string): void => {
    if (response.destroyed) return;
    response.write(`${line}\n\n`);
    if (response.writableLength > mostWaiting) response.destroy();
    silence.refresh();
  };
  const silence = setInterval(() => write(':'), silenceMilliseconds).unref();
  response.once('close', () => clearInterval(silence));
  return {
    send: (value) => write(`data: ${JSON.stringify(value)}`),
    done() {
      write('data: [DONE]');
      response.end();
    },
  };
}
