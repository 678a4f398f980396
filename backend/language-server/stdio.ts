/** The language server over standard input and output, for `dist/server.js` and for `early-exit lsp --stdio`. */
import {
  createConnection,
  ErrorCodes,
  ProposedFeatures,
  StreamMessageReader,
  StreamMessageWriter,
  type Message,
} from 'vscode-languageserver/node';
import { userError } from '../../protocol/errors.ts';
import { shownValue } from '../../protocol/foreign.ts';
import { endAtOnce } from '../worker/end.ts';
import { createEngine } from '../worker/engine.ts';
import { checkedFrames } from './frames.ts';
import { serve } from './server.ts';

/** How long a thread with a loaded model waits for the next job. */
const IDLE_MILLISECONDS = 5 * 60_000;
/** Time that runs have for saving after the client has gone; then the process ends in any case. */
const LEAVE_MILLISECONDS = 4_000;
const CLIENT_POLL_MILLISECONDS = 2_000;

/** Throws a UserError for a word that is no part of how an editor starts it. */
export function checkServerWords(words: readonly string[]): void {
  const wrong = words.find((word, i) => {
    const isPid = words[i - 1] === '--clientProcessId' && /^\d+$/.test(word);
    return !isPid && !/^--(stdio|clientProcessId(=\d+)?)$/.test(word);
  });
  if (wrong === undefined) return;
  const wayOut =
    'It speaks on standard input and output: start it with --stdio alone, or with --clientProcessId PID beside it.';
  throw userError('bad-argument', `lsp has no option ${wrong}.`, wayOut);
}

/**
 * Serves until the client closes the connection or its process is gone: nothing outlives a window. The client's process
 * id comes from `--clientProcessId` or, for other editors, from `initialize`.
 */
export function startServer(argv: readonly string[] = process.argv.slice(2), signal?: AbortSignal): void {
  // Standard output belongs to the protocol.
  console.log = console.info = console.error;
  const engine = createEngine({ idleMilliseconds: IDLE_MILLISECONDS, graceMilliseconds: Infinity });
  const frames = process.stdin.pipe(checkedFrames());
  const reader = new StreamMessageReader(frames);
  const writer = new StreamMessageWriter(process.stdout);
  const connection = createConnection(ProposedFeatures.all, reader, writer);
  const dispose = serve(connection, engine);
  let leaving = false;
  const leave = (code: number): void => {
    if (leaving) return;
    leaving = true;
    setTimeout(() => endAtOnce('SIGTERM'), LEAVE_MILLISECONDS);
    void dispose().finally(() => process.exit(code));
  };
  // The beginning of the next frame cannot be known.
  frames.once('error', (error) => {
    process.stderr.write(`early-exit: what came in is no language server protocol (${error.message}).\n`);
    leave(1);
  });
  // A whole frame that is no JSON: the stream goes on, but the request has no id for an answer.
  reader.onError((error) => {
    if (leaving) return;
    process.stderr.write(`early-exit: a message could not be read: ${shownValue(error.message)}.\n`);
    void writer.write({
      jsonrpc: '2.0',
      id: null,
      error: { code: ErrorCodes.ParseError, message: 'Not JSON.' },
    } as Message);
  });
  process.stdin.once('close', () => leave(0));
  process.stdout.once('error', () => leave(0));
  for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.once(name, () => leave(0));
  signal?.addEventListener('abort', () => leave(0));
  watchClient(argv, () => leave(0));
  connection.listen();
}

function watchClient(argv: readonly string[], gone: () => void): void {
  const at = argv.findIndex((word) => word.startsWith('--clientProcessId'));
  if (at < 0) return;
  const pid = Number(argv[at]!.split('=')[1] ?? argv[at + 1]);
  if (!Number.isInteger(pid) || pid <= 0) return;
  setInterval(() => {
    try {
      process.kill(pid, 0);
    } catch {
      gone();
    }
  }, CLIENT_POLL_MILLISECONDS).unref();
}
