/** A stream of records to one client. A reader that falls far behind is disconnected, since its records would only pile up. */
import type { ServerResponse } from 'node:http';

/** Most bytes that wait for a reader, beside its longest record. */
const mostWaiting = 1 << 20;

/**
 * How records are sent: as OpenAI's events, which end with `[DONE]`; as llama.cpp's, which do not; as events with the name of their `type`;
 * as lines of JSON.
 */
export type StreamFormat = 'events' | 'plain-events' | 'named-events' | 'lines';

/** JSON on one line for every client: some, those in Python among them, also end lines at these characters. */
const lineOf = (value: object): string =>
  JSON.stringify(value).replace(
    /[\u0085\u2028\u2029]/g,
    (end) => `\\u${end.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );

export interface EventStream {
  send(value: object): void;
  /** The end as clients expect it. */
  done(): void;
  /** Something went wrong: that is the last record. */
  fail(value: object): void;
}

/** `silenceMilliseconds`: a comment is sent after this time without a record, so that no proxy closes the socket as idle. */
export function openStream(
  response: ServerResponse,
  headers: Readonly<Record<string, string>>,
  silenceMilliseconds: number,
  format: StreamFormat = 'events',
): EventStream {
  const isLines = format === 'lines';
  response.writeHead(200, {
    ...headers,
    'content-type': isLines ? 'application/x-ndjson' : 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache',
    'x-accel-buffering': 'no',
  });
  // Sent on their own, since headers would otherwise wait for the first record.
  response.flushHeaders();
  let longest = 0;
  const write = (text: string): void => {
    if (response.destroyed) return;
    response.write(text);
    longest = Math.max(longest, Buffer.byteLength(text));
    if (response.writableLength > mostWaiting + longest) response.destroy();
    silence.refresh();
  };
  const send = (value: object, name?: string): void => {
    const named = format === 'named-events' ? (name ?? (value as { type?: string }).type) : undefined;
    write(isLines ? `${lineOf(value)}\n` : `${named ? `event: ${named}\n` : ''}data: ${lineOf(value)}\n\n`);
  };
  // A line of JSON may begin with blanks; an empty line would be no JSON to clients that read line by line.
  const silence = setInterval(() => write(isLines ? ' ' : ':\n\n'), silenceMilliseconds).unref();
  response.once('close', () => clearInterval(silence));
  return {
    send,
    done() {
      if (format === 'events') write('data: [DONE]\n\n');
      response.end();
    },
    fail(value) {
      send(value, 'error');
      response.end();
    },
  };
}
