/** A server with its model: what the command line and the editor start. */
import { readFileSync } from 'node:fs';
import { userError } from '../../protocol/errors.ts';
import type { ServeOptions } from '../../protocol/options/options.ts';
import type { RequestRecord, ServeEvent } from '../../protocol/serving.ts';
import { servedGeneration, servedName } from '../recipes/serving/options.ts';
import { createEngine, type Engine, type Job } from '../worker/engine.ts';
import { resolveModel } from '../recipes/at-hand/shipped-model.ts';
import { listen } from './http/listen.ts';
import { recordOf } from './http/log.ts';
import { openWriter } from './writer.ts';

export interface RunningServer {
  readonly url: string;
  /** How the model is called. */
  readonly name: string;
  /** Rejects if the model cannot be loaded or is lost; settles when the server has been closed. */
  readonly finished: Promise<void>;
  /** Answers what is being answered, for a while, then ends. */
  close(): Promise<void>;
}

export interface ServingHooks {
  /** Loading, warnings, and the model once it is there. */
  readonly onEvent: (event: ServeEvent) => void;
  /** An internal error. */
  readonly onDefect: (error: unknown) => void;
  /** A request is over: for a log. */
  readonly onRequest?: (record: RequestRecord) => void;
  /** The module that the thread runs; tests give their own. */
  readonly entry?: URL;
  /** Engine that runs its job, beside other jobs of the model; default: an engine of its own, which ends with it. */
  readonly engine?: Engine;
}

/** How long answers may still take once the server is closed. */
const graceMilliseconds = 3_000;

/**
 * Listens first and then loads the model, so that clients learn that it is loading.
 * @throws UserError for an address that cannot be listened at, or a key that cannot be read.
 */
export async function startServing(options: ServeOptions, hooks: ServingHooks): Promise<RunningServer> {
  const keys = keysOf(options);
  const bodyBytes = Math.floor(options.bodyMegabytes * 2 ** 20);
  const model = resolveModel(options.model);
  const name = servedName(options);
  const own = hooks.engine ? null : createEngine({ graceMilliseconds, ...(hooks.entry && { entry: hooks.entry }) });
  const engine = hooks.engine ?? own!;
  const onRequest = options.logLevel === 'error' ? undefined : hooks.onRequest;
  let job: Job<'serve'> | null = null;
  const server = await listen({
    host: options.host,
    port: options.port,
    keys,
    origins: options.origins,
    name,
    options: { ...servedGeneration(options), model: options.model },
    bodyBytes,
    onDefect: hooks.onDefect,
    onRequest: onRequest && ((answered) => onRequest(recordOf(answered, options.logLevel === 'debug'))),
  });
  let closing: Promise<void> | null = null;
  const close = (): Promise<void> =>
    (closing ??= (async () => {
      await server.close(graceMilliseconds);
      job?.cancel();
      await own?.dispose();
    })());
  try {
    job = engine.start('serve', { ...options, model });
    server.answer(openWriter(job, { ...options, questionBytes: bodyBytes }, hooks.onEvent));
    const finished = job.finished.finally(close);
    finished.catch(() => {});
    return { url: server.url, name, finished, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** From the file, else from the environment: one a line. */
function keysOf({ keyFile }: ServeOptions): string[] {
  const linesOf = (text: string): string[] => [...new Set(text.split('\n').map((line) => line.trim()))].filter(Boolean);
  if (keyFile === null) return linesOf(process.env['EARLY_EXIT_KEY'] ?? '');
  let keys: string[];
  try {
    keys = linesOf(readFileSync(keyFile, 'utf8'));
  } catch (error) {
    throw userError('file-system', `${keyFile} cannot be read.`, 'Give another --key-file.', error);
  }
  if (keys.length === 0) throw userError('bad-argument', `${keyFile} is empty.`, 'Write the key into it.');
  return keys;
}
