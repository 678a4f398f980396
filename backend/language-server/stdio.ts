/** The language server over standard input and output, for `dist/server.js` and for `early-exit lsp --stdio`. */
import {
  createConnection,
  ProposedFeatures,
  StreamMessageReader,
  StreamMessageWriter,
} from 'vscode-languageserver/node';
import { userError } from '../../protocol/errors.ts';
import { endAtOnce } from '../worker/end.ts';
import { createEngine } from '../worker/engine.ts';
import { serve } from './server.ts';

/** How long a thread with a loaded model waits for the next job. */
const IDLE_MILLISECONDS = 5 * 60_000;
/** Runs may save so long after the client has gone; then the process ends whatever it does. */
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
  const connection = createConnection(
    ProposedFeatures.all,
    new StreamMessageReader(process.stdin),
    new StreamMessageWriter(process.stdout),
  );
  const dispose = serve(connection, engine);
  let leaving = false;
  const leave = (): void => {
    if (leaving) return;
    leaving = true;
    setTimeout(() => endAtOnce('SIGTERM'), LEAVE_MILLISECONDS);
    void dispose().finally(() => process.exit(0));
  };
  process.stdin.once('close', leave);
  process.stdout.once('error', leave);
  for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.once(name, leave);
  signal?.addEventListener('abort', leave);
  watchClient(argv, leave);
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
