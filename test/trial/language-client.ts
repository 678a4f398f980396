/** A client of `early-exit lsp` for trials: the child, its connection, and patience with it. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  createProtocolConnection,
  StreamMessageReader,
  StreamMessageWriter,
  type ProtocolConnection,
} from 'vscode-languageserver/node';
import { environment, type Program } from './program.ts';

export interface LanguageClient {
  readonly child: ChildProcess;
  readonly connection: ProtocolConnection;
  /** True once the server has ended. */
  readonly isGone: () => boolean;
  /** The answer, or what the server said instead. Throws if it says nothing in time. */
  ask(method: string, params: unknown): Promise<Answer>;
  /** Closes its streams and waits for its end; the exit code, or null if it had to be ended. */
  close(): Promise<number | null>;
}

export type Answer = { readonly ok: true; readonly result: unknown } | { readonly ok: false; readonly message: string };

const patienceSeconds = 120;

export const startServer = (program: Program, folder: string): ChildProcess =>
  spawn(process.execPath, [...program, 'lsp', '--stdio'], {
    cwd: folder,
    env: environment({ cwd: folder }),
    stdio: ['pipe', 'pipe', 'pipe'],
  });

export async function openClient(program: Program, folder: string): Promise<LanguageClient> {
  const child = startServer(program, folder);
  const exited = once(child, 'exit');
  child.stderr!.resume();
  child.stdin!.on('error', () => {});
  const connection = createProtocolConnection(
    new StreamMessageReader(child.stdout!),
    new StreamMessageWriter(child.stdin!),
  );
  connection.onError(() => {});
  connection.listen();
  const ask = (method: string, params: unknown): Promise<Answer> =>
    within(
      Promise.race([
        connection.sendRequest(method, params).then(
          (result): Answer => ({ ok: true, result }),
          (error: unknown): Answer => ({ ok: false, message: error instanceof Error ? error.message : String(error) }),
        ),
        exited.then(([code, signal]) => {
          throw new Error(`the server ended with ${String(code ?? signal)} at ${method}`);
        }),
      ]),
      `${method} was not answered`,
    );
  const initialised = await ask('initialize', { processId: null, rootUri: null, capabilities: {} });
  if (!initialised.ok) throw new Error(`the server does not begin: ${initialised.message}`);
  await connection.sendNotification('initialized', {});
  return {
    child,
    connection,
    isGone: () => child.exitCode !== null || child.signalCode !== null,
    ask,
    async close() {
      connection.end();
      child.stdin!.end();
      const [code] = (await within(exited, 'the server did not end').catch(() => {
        child.kill('SIGKILL');
        return [null];
      })) as [number | null];
      connection.dispose();
      return code;
    },
  };
}

/** Throws after `patienceSeconds`. */
export async function within<T>(promise: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} in ${patienceSeconds} s`)), 1000 * patienceSeconds);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
