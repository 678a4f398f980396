/** HTTP as trials speak it: a socket for each request, which can be read slowly or left at any moment. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { request, type ClientRequest } from 'node:http';
import { createInterface } from 'node:readline';
import { setTimeout as wait } from 'node:timers/promises';
import { within } from './language-client.ts';
import { environment, type Program } from './program.ts';

export interface Server {
  readonly child: ChildProcess;
  readonly url: string;
  readonly key: string;
}

/** Starts `early-exit serve WORDS…` with one key or several, one a line; settles once the model is there. */
export async function startServing(
  program: Program,
  words: readonly string[],
  folder: string,
  key: string,
): Promise<Server> {
  const child = spawn(process.execPath, [...program, 'serve', '--json', '--port=0', ...words], {
    cwd: folder,
    env: environment({ cwd: folder, env: { EARLY_EXIT_KEY: key } }),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output = (output + text).slice(-2000)));
  const listening = new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      const event = JSON.parse(line) as { type: string; url: string };
      if (event.type === 'listening') resolve(event.url);
    });
    child.once('exit', () => reject(new Error(`the server ended: ${output}`)));
  });
  const server = { child, url: await within(listening, 'the server did not listen'), key: key.split('\n')[0]! };
  const loaded = async (): Promise<void> => {
    while ((await ask(server, { path: '/health' })).status !== 200) await wait(100);
  };
  await within(loaded(), 'the server did not load its model');
  return server;
}

/** Asks it to end; its exit code, null if it had to be ended. */
export async function stopServing({ child }: Server): Promise<number | null> {
  const exited = once(child, 'exit') as Promise<[number | null]>;
  child.kill('SIGTERM');
  const [code] = await within(exited, 'the server did not end').catch((): [null] => {
    child.kill('SIGKILL');
    return [null];
  });
  return code;
}

export interface Question {
  readonly path: string;
  /** Sent as it is; GET if there is none. */
  readonly body?: string | Uint8Array;
  /** Otherwise the server's. */
  readonly key?: string;
  /** Milliseconds between two bytes of the body, and between two pieces of the answer. */
  readonly slowly?: number;
  /** Milliseconds after which the client is gone. */
  readonly leaves?: number;
}

export interface Answer {
  /** 0 where the client left before there was one. */
  readonly status: number;
  readonly text: string;
}

export async function ask({ url, key }: Server, question: Question): Promise<Answer> {
  const { path, body, slowly = 0, leaves } = question;
  const sent = request(`${url}${path}`, {
    method: body === undefined ? 'GET' : 'POST',
    agent: false,
    headers: { authorization: `Bearer ${question.key ?? key}` },
  });
  const left = leaves === undefined ? undefined : setTimeout(() => sent.destroy(), leaves);
  const answered = new Promise<Answer>((resolve, reject) => {
    sent.once('error', (error) =>
      sent.destroyed && leaves !== undefined ? resolve({ status: 0, text: '' }) : reject(error),
    );
    sent.once('response', (response) => {
      void (async () => {
        let text = '';
        for await (const piece of response.setEncoding('utf8')) {
          text += piece as string;
          if (slowly > 0) await wait(slowly);
        }
        return { status: response.statusCode!, text };
      })().then(resolve, (error: Error) => (leaves === undefined ? reject(error) : resolve({ status: 0, text: '' })));
    });
  });
  if (body !== undefined) await send(sent, Buffer.from(body), slowly);
  sent.end();
  return answered.finally(() => clearTimeout(left));
}

async function send(sent: ClientRequest, body: Buffer, slowly: number): Promise<void> {
  if (slowly === 0) return void sent.write(body);
  sent.setHeader('transfer-encoding', 'chunked');
  for (const byte of body) {
    if (sent.destroyed) return;
    sent.write(Buffer.from([byte]));
    await wait(slowly);
  }
}
