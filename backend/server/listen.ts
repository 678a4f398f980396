/** The server itself: sockets, guards and limits around the routes. The model lives in another thread (writer.ts). */
import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { userError } from '../../protocol/errors.ts';
import type { GenerateOptions } from '../../protocol/options.ts';
import { collect, newTexts, take } from './answers.ts';
import { readJson, type ReadBody } from './body.ts';
import type { Endpoint, Head } from './endpoint.ts';
import { failureBody, failureOf, refusal, type Failure } from './failures.ts';
import { bodyOf } from './fields.ts';
import { askerOf, isLoopback, originHeaders, refusalOf, type Guards } from './guards.ts';
import type { Served } from './served.ts';
import { routeOf } from './routes.ts';
import { limitSockets, type SocketLimits } from './sockets.ts';
import { openStream, type EventStream } from './stream.ts';
import type { Caller, Writer } from './writer.ts';

export interface ServerSettings {
  readonly host: string;
  readonly port: number;
  /** That clients may give; none: nobody is asked for one. */
  readonly keys: readonly string[];
  readonly origins: readonly string[];
  /** How the model is called. */
  readonly name: string;
  /** How texts are written where a request does not say. */
  readonly options: GenerateOptions;
  readonly bodyBytes: number;
  /** Otherwise the usual ones. */
  readonly sockets?: SocketLimits;
  /** A stream that says nothing for so long sends a comment; otherwise after 15 s. */
  readonly silenceMilliseconds?: number;
  /** Told of what is no client's fault. */
  readonly onDefect: (error: unknown) => void;
}

export interface OpenServer {
  readonly url: string;
  /** Begins to answer. Called at once after `listen`, no request can have come before. */
  answer(writer: Writer): void;
  /** Takes no more requests, lets those that are answered end for a while, then ends them. */
  close(graceMilliseconds: number): Promise<void>;
}

/** Clients that send nothing must not use up the process's files. */
const socketLimits: SocketLimits = { most: 1024, ofAddress: 256 };
/** How long a client may take for its headers, from the moment that it could send them, and for its whole request. */
const headersMilliseconds = 10_000;
const bodyMilliseconds = 60_000;
/** Programs between a client and a server often close what is idle for half a minute. */
const silenceMilliseconds = 15_000;
/** How often that is looked at. */
const lookMilliseconds = 1_000;

/** @throws UserError for an address that needs a key, or cannot be listened at. */
export async function listen(settings: ServerSettings): Promise<OpenServer> {
  const loopback = isLoopback(settings.host);
  if (!loopback && settings.keys.length === 0)
    throw userError(
      'bad-argument',
      `Others reach ${settings.host}, so clients there need a key.`,
      'Give one with --key-file FILE or EARLY_EXIT_KEY, or listen at 127.0.0.1.',
    );
  const guards: Guards = { keys: settings.keys, origins: settings.origins, loopback };
  const answering = new Set<Promise<void>>();
  let isClosing = false;
  const server = createServer({
    headersTimeout: headersMilliseconds,
    requestTimeout: bodyMilliseconds,
    connectionsCheckingInterval: lookMilliseconds,
    keepAliveTimeout: 5_000,
  });
  limitSockets(server, settings.sockets ?? socketLimits);
  await startListening(server, settings);
  const { address, port, family } = server.address() as AddressInfo;
  return {
    url: `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`,
    answer(writer) {
      server.on('request', (request, response) => {
        if (isClosing) response.setHeader('connection', 'close');
        const answered = respond(request, response, writer, guards, settings);
        answering.add(answered);
        void answered.finally(() => answering.delete(answered));
      });
    },
    async close(graceMilliseconds) {
      isClosing = true;
      const closed = new Promise<void>((resolve) => void server.close(() => resolve()));
      server.closeIdleConnections();
      await Promise.race([Promise.allSettled(answering), delay(graceMilliseconds)]);
      server.closeAllConnections();
      await closed;
      await Promise.allSettled(answering);
    },
  };
}

function startListening(server: Server, { host, port }: ServerSettings): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        error.code === 'EADDRINUSE'
          ? userError(
              'bad-argument',
              `Port ${port} is taken.`,
              'Give another with --port (earlyExit.server.port in the editor); 0 takes any that is free.',
              error,
            )
          : userError(
              'bad-argument',
              `${host}:${port} cannot be listened at: ${error.code ?? error.message}.`,
              'Give another place with --host and --port (earlyExit.server.port in the editor).',
              error,
            ),
      ),
    );
    server.listen(port, host, resolve);
  });
}

const noBody: ReadBody = { value: {}, bytes: 0 };

/** Answers one request, whatever becomes of it; never rejects. */
async function respond(
  request: IncomingMessage,
  response: ServerResponse,
  writer: Writer,
  guards: Guards,
  settings: ServerSettings,
): Promise<void> {
  const headers = { ...originHeaders(request.headers) };
  const gone = new AbortController();
  response.on('close', () => gone.abort());
  response.on('error', () => gone.abort());
  try {
    const { url = '/', method = 'GET' } = request;
    const isPreflight = method === 'OPTIONS';
    const refused = refusalOf(request.headers, guards, isPreflight || isOpen(url, method));
    if (refused) throw refused;
    if (isPreflight) return void response.writeHead(204, headers).end();
    const route = routeOf(url, method);
    if (route.kind === 'constant') return sendJson(response, 200, headers, route.value);
    const model = writer.model();
    if (route.kind === 'health') return sendHealth(response, headers, model !== null);
    const { value, bytes } = method === 'POST' ? await readJson(request, settings.bodyBytes) : noBody;
    const body = bodyOf(value);
    if (route.kind === 'text') return sendText(response, headers, route.text(writer));
    if (model === null) throw refusal(503, 'loading', 'The model is being loaded.', { retryAfter: 1 });
    const served: Served = { model, name: settings.name, options: settings.options };
    const asker = askerOf(request.headers, request.socket.remoteAddress ?? '', guards);
    const caller: Caller = { asker, bytes, signal: gone.signal };
    if (route.kind === 'answers') return sendJson(response, 200, headers, route.answer(served, writer));
    if (route.kind === 'asks') return await sendParts(response, headers, await route.ask(body, writer, caller));
    const open = (): EventStream => openStream(response, headers, settings.silenceMilliseconds ?? silenceMilliseconds);
    await write(route.endpoint(body, served), writer, caller, response, headers, open);
  } catch (error) {
    const failure = failureOf(error);
    if (failure.code === 'internal_error') settings.onDefect(error);
    if (!response.destroyed) sendFailure(request, response, headers, failure);
  }
}

/** Whether a path is answered without a key; what is wrong with it is said to those who have one. */
function isOpen(url: string, method: string): boolean {
  try {
    return routeOf(url, method).isOpen ?? false;
  } catch {
    return false;
  }
}

async function write(
  endpoint: Endpoint,
  writer: Writer,
  caller: Caller,
  response: ServerResponse,
  headers: Readonly<Record<string, string>>,
  open: () => EventStream,
): Promise<void> {
  const { request, stream } = endpoint;
  const head: Head = { id: randomUUID(), created: Math.floor(Date.now() / 1000) };
  const count = request.prompts.length * request.count;
  const events = writer.write(request, caller);
  if (stream === null) return sendJson(response, 200, headers, endpoint.whole(await collect(events, count), head));
  const texts = newTexts(count);
  let sent: EventStream | null = null;
  for await (const event of events) {
    // Headers leave once the request is accepted: what is refused has its own status, and whoever waits for a turn knows that it does.
    sent ??= open();
    if (event.type === 'accepted') continue;
    for (const piece of endpoint.piece(event, take(texts, event), head)) sent.send(piece);
  }
  sent ??= open();
  const usage = stream.includeUsage ? endpoint.usage(texts, head) : null;
  if (usage) sent.send(usage);
  sent.done();
}

function sendJson(
  response: ServerResponse,
  status: number,
  headers: Readonly<Record<string, string>>,
  value: object,
): void {
  if (response.destroyed) return;
  response.writeHead(status, { ...headers, 'content-type': 'application/json; charset=utf-8' });
  response.end(JSON.stringify(value));
}

/** An answer that may be long, in parts of its JSON: others are served in between. */
async function sendParts(
  response: ServerResponse,
  headers: Readonly<Record<string, string>>,
  parts: Iterable<string>,
): Promise<void> {
  response.writeHead(200, { ...headers, 'content-type': 'application/json; charset=utf-8' });
  for (const part of parts) {
    if (response.destroyed) return;
    response.write(part);
    await setImmediate();
  }
  response.end();
}

function sendText(response: ServerResponse, headers: Readonly<Record<string, string>>, text: string): void {
  response.writeHead(200, { ...headers, 'content-type': 'text/plain; version=0.0.4; charset=utf-8' });
  response.end(text);
}

function sendHealth(response: ServerResponse, headers: Readonly<Record<string, string>>, isReady: boolean): void {
  sendJson(response, isReady ? 200 : 503, headers, { status: isReady ? 'ok' : 'loading model' });
}

function sendFailure(
  request: IncomingMessage,
  response: ServerResponse,
  headers: Readonly<Record<string, string>>,
  failure: Failure,
): void {
  if (response.headersSent) {
    // Within a stream an error is one more event.
    response.end(`data: ${JSON.stringify(failureBody(failure))}\n\n`);
    return;
  }
  // What of the body was not read must not be taken for the next request.
  const closing = request.complete ? {} : { connection: 'close' };
  const retry = failure.retryAfter === undefined ? {} : { 'retry-after': String(failure.retryAfter) };
  sendJson(response, failure.status, { ...headers, ...closing, ...retry }, failureBody(failure));
}

const delay = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => void setTimeout(resolve, milliseconds).unref());
