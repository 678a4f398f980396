/** Answers one request: checks the client, finds its endpoint, and sends the answer, whole or as a stream. */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setImmediate } from 'node:timers/promises';
import { collect, newTexts, take } from '../apis/answers.ts';
import { readJson, type ReadBody } from './body.ts';
import type { Endpoint, Head } from '../apis/endpoint.ts';
import { failureOf, refusal, type Failure, type FailureShape } from './failures.ts';
import { bodyOf } from '../apis/fields.ts';
import { senderOf, originHeaders, refusalOf, type Guards } from './guards.ts';
import { failureShapeOf, routeOf } from '../apis/routes.ts';
import type { WriteRequest } from '../../../protocol/serving.ts';
import type { Answered } from './log.ts';
import type { Served } from '../served.ts';
import { openStream, type EventStream, type StreamFormat } from './stream.ts';
import { newTally } from './tally.ts';
import type { Caller, Writer } from '../writer.ts';

export interface Answering extends Pick<Served, 'name' | 'options'> {
  readonly guards: Guards;
  readonly bodyBytes: number;
  /** A stream without records for this time sends a comment. */
  readonly silenceMilliseconds: number;
  /** A reader that takes nothing of what is sent for this time is disconnected. */
  readonly readerMilliseconds: number;
  /** Called with errors that no client has caused. */
  readonly onDefect: (error: unknown) => void;
  /** Called for each request when it is over, except for those that only check whether the server is alive. */
  readonly onRequest?: ((answered: Answered) => void) | undefined;
}

/** What is needed to write to a client. */
interface Client {
  readonly response: ServerResponse;
  readonly headers: Readonly<Record<string, string>>;
}

/** Closes a response with its socket, also one that waits behind another response of that socket, which Node does not. */
function endWithSocket({ socket }: IncomingMessage, response: ServerResponse): void {
  const close = (): void => {
    if (response.closed) return;
    response.destroy();
    response.emit('close');
  };
  // A client may send many requests before it reads an answer.
  socket.setMaxListeners(0);
  socket.once('close', close);
  response.once('close', () => socket.off('close', close));
}

const noBody: ReadBody = { value: {}, bytes: 0 };

/** Answers one request. Errors become answers, so it never rejects. */
export async function respond(
  request: IncomingMessage,
  response: ServerResponse,
  writer: Writer,
  answering: Answering,
): Promise<void> {
  const client: Client = { response, headers: originHeaders(request.headers) };
  const gone = new AbortController();
  response.on('close', () => gone.abort());
  response.on('error', () => gone.abort());
  endWithSocket(request, response);
  // A socket that times out is closed: not while its answer is awaited, but if what has been ended is not taken.
  response.setTimeout(0);
  response.once('prefinish', () => response.setTimeout(answering.readerMilliseconds));
  const { url = '/', method = 'GET' } = request;
  const shape = failureShapeOf(url);
  const tally = newTally();
  const sender = senderOf(request.headers, request.socket.remoteAddress ?? '', answering.guards);
  const path = url.split('?')[0]!;
  let writeRequest: WriteRequest | null = null;
  response.once('close', () => {
    if (quiet.has(path)) return;
    answering.onRequest?.({
      client: sender.client,
      method,
      path,
      // As others log a client that has left before its answer.
      status: response.headersSent ? response.statusCode : 499,
      tally,
      request: writeRequest,
    });
  });
  try {
    await answer(client, writer, answering);
  } catch (error) {
    const failure = failureOf(error);
    if (failure.code === 'internal_error') answering.onDefect(error);
    if (!response.destroyed) sendFailure(request, client, failure, shape);
  }

  async function answer(
    to: Client,
    by: Writer,
    { guards, name, options, bodyBytes, silenceMilliseconds, readerMilliseconds, onDefect }: Answering,
  ): Promise<void> {
    const isPreflight = method === 'OPTIONS';
    const refused = refusalOf(request.headers, guards, isPreflight || isOpen(url, method));
    if (refused) throw refused;
    if (isPreflight) return void response.writeHead(204, to.headers).end();
    const route = routeOf(url, method);
    if (route.kind === 'constant') return sendJson(to, 200, route.value());
    const model = by.model();
    if (route.kind === 'health') return sendHealth(to, model !== null);
    const { value, bytes } = method === 'POST' ? await readJson(request, bodyBytes) : noBody;
    const body = bodyOf(value);
    if (route.kind === 'text') return sendText(to, route.text(by));
    if (model === null) throw refusal(503, 'loading', 'The model is being loaded.', { retryAfter: 1 });
    const served: Served = { model, name, options };
    const caller: Caller = { sender, bytes, tally, signal: gone.signal };
    if (route.kind === 'answers') return sendJson(to, 200, route.answer(served, by, body));
    if (route.kind === 'asks') return await sendParts(to, await route.ask(body, by, caller), readerMilliseconds);
    const open = (format: StreamFormat): EventStream => openStream(response, to.headers, silenceMilliseconds, format);
    const endpoint = route.endpoint(body, served);
    writeRequest = endpoint.request;
    await write(endpoint, by, caller, to, { open, shape, onDefect });
  }
}

/** Requested every few seconds by programs that monitor the server. */
const quiet = new Set(['/health', '/v1/health', '/metrics', '/slots']);

/** Whether a path is answered without a key; its errors are shown only to clients with a key. */
function isOpen(url: string, method: string): boolean {
  try {
    return routeOf(url, method).isOpen ?? false;
  } catch {
    return false;
  }
}

interface Streaming extends Pick<Answering, 'onDefect'> {
  readonly open: (format: StreamFormat) => EventStream;
  readonly shape: FailureShape;
}

async function write(
  endpoint: Endpoint,
  writer: Writer,
  caller: Caller,
  client: Client,
  { open, shape, onDefect }: Streaming,
): Promise<void> {
  const { request, stream, format = 'events' } = endpoint;
  const head: Head = { id: randomUUID(), created: Math.floor(Date.now() / 1000) };
  const count = request.prompts.length * request.count;
  const events = writer.write(request, caller);
  if (stream === null) return sendJson(client, 200, endpoint.whole(await collect(events, count), head));
  const texts = newTexts(count);
  let sent: EventStream | null = null;
  try {
    for await (const event of events) {
      // Headers leave once the request is accepted: a refusal has its own status, and a client that waits for a turn knows that it does.
      sent ??= open(format);
      if (event.type === 'accepted') continue;
      for (const piece of endpoint.piece(event, take(texts, event), head)) sent.send(piece);
    }
  } catch (error) {
    if (sent === null) throw error;
    const failure = failureOf(error);
    if (failure.code === 'internal_error') onDefect(error);
    // Within a stream an error is one more event.
    return sent.fail(shape(failure));
  }
  sent ??= open(format);
  const usage = stream.includeUsage ? endpoint.usage(texts, head) : null;
  if (usage) sent.send(usage);
  sent.done();
}

function sendJson({ response, headers }: Client, status: number, value: object): void {
  if (response.destroyed) return;
  response.writeHead(status, { ...headers, 'content-type': 'application/json; charset=utf-8' });
  response.end(JSON.stringify(value));
}

/** An answer that may be long, in parts of its JSON, as fast as its reader takes them: others are served in between. */
async function sendParts(
  { response, headers }: Client,
  parts: Iterable<string>,
  readerMilliseconds: number,
): Promise<void> {
  response.writeHead(200, { ...headers, 'content-type': 'application/json; charset=utf-8' });
  response.setTimeout(readerMilliseconds);
  for (const part of parts) {
    if (response.destroyed) return;
    if (response.write(part)) await setImmediate();
    else await taken(response);
  }
  response.end();
}

/** When what was written is on its way, or the reader has gone. */
function taken(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done).off('close', done);
      resolve();
    };
    response.on('drain', done).on('close', done);
  });
}

function sendText({ response, headers }: Client, text: string): void {
  response.writeHead(200, { ...headers, 'content-type': 'text/plain; version=0.0.4; charset=utf-8' });
  response.end(text);
}

const sendHealth = (client: Client, isReady: boolean): void =>
  sendJson(client, isReady ? 200 : 503, { status: isReady ? 'ok' : 'loading model' });

function sendFailure(request: IncomingMessage, client: Client, failure: Failure, shape: FailureShape): void {
  const { response, headers } = client;
  if (response.headersSent) return void response.end();
  // What of the body was not read must not be taken for the next request.
  const closing = request.complete ? {} : { connection: 'close' };
  const retry = failure.retryAfter === undefined ? {} : { 'retry-after': String(failure.retryAfter) };
  sendJson({ response, headers: { ...headers, ...closing, ...retry } }, failure.status, shape(failure));
}
