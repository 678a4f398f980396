/** The server itself: sockets, guards and limits around the routes. The model lives in another thread (writer.ts). */
import { createServer, type Server, type ServerResponse } from 'node:http';
import { Server as NetServer, type AddressInfo } from 'node:net';
import { userError } from '../../../protocol/errors.ts';
import type { GenerateOptions } from '../../../protocol/options/options.ts';
import { isLoopback, type Guards } from './guards.ts';
import type { Answered } from './log.ts';
import { respond } from './respond.ts';
import { limitSockets, type SocketLimits } from './sockets.ts';
import type { Writer } from '../writer.ts';

export interface ServerSettings {
  readonly host: string;
  readonly port: number;
  /** Keys that clients may send. Empty: no key is needed. */
  readonly keys: readonly string[];
  readonly origins: readonly string[];
  /** How the model is called. */
  readonly name: string;
  /** How texts are written unless a request says otherwise. */
  readonly options: GenerateOptions;
  readonly bodyBytes: number;
  /** Otherwise the usual ones. */
  readonly sockets?: SocketLimits;
  /** A stream without records for this time sends a comment; by default after 15 s. */
  readonly silenceMilliseconds?: number;
  /** A reader that takes nothing of what is sent for this time is disconnected; by default after 30 s. */
  readonly readerMilliseconds?: number;
  /** Called with errors that no client has caused. */
  readonly onDefect: (error: unknown) => void;
  /** Called for each request when it is over. */
  readonly onRequest?: ((answered: Answered) => void) | undefined;
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
/** A socket whose reader takes nothing counts as busy, and keeps others out. */
const readerMilliseconds = 30_000;
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
        const usual = { silenceMilliseconds, readerMilliseconds };
        const answered = respond(request, response, writer, { ...usual, ...settings, guards }).then(() =>
          sent(response),
        );
        answering.add(answered);
        void answered.finally(() => answering.delete(answered));
      });
    },
    async close(graceMilliseconds) {
      isClosing = true;
      // Ends listening alone: HTTP's own way also cuts off answers that have ended and are still being taken.
      NetServer.prototype.close.call(server);
      await Promise.race([Promise.allSettled(answering), delay(graceMilliseconds)]);
      const closed = new Promise<void>((resolve) => void server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
      await Promise.allSettled(answering);
    },
  };
}

/**
 * Settles once an answer that has ended has been sent in full, or its socket has closed. An answer without a socket settles at once: it has
 * been sent already, or waits behind another one of its connection.
 */
const sent = (response: ServerResponse): Promise<void> =>
  new Promise((resolve) => {
    if (response.socket === null || response.closed) resolve();
    else response.once('close', resolve);
  });

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

const delay = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => void setTimeout(resolve, milliseconds).unref());
