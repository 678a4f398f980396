/** What is no message at all, on the language server's standard input. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as wait } from 'node:timers/promises';
import type { Random } from '../../../backend/decoding/sampling/random.ts';
import { startServer, within } from '../language-client.ts';
import { damageBytes } from '../mutations/bytes.ts';
import { alone, below, failed, held, pick, type Kind, type Verdict } from '../trial.ts';

const frame = (text: string, length: number | string = Buffer.byteLength(text)): Buffer =>
  Buffer.from(`Content-Length: ${length}\r\n\r\n${text}`);

const initialize = JSON.stringify({
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: { processId: null, rootUri: null, capabilities: {} },
});
const question = JSON.stringify({ jsonrpc: '2.0', id: 2, method: 'earlyExit/status', params: {} });

const lengths = ['-1', 'NaN', '', '1e9', '99999999999999999999', '0', '0x10', '1, 2', '4294967296', '-0', '1.5', 'ten'];
const bodies = [
  '',
  'null',
  '[]',
  '{',
  '"x"',
  '1',
  '{"jsonrpc":"1.0"}',
  '{"id":{}}',
  '{"id":1,"result":1}',
  '{"method":1}',
];
const batches = [`[${question},${question}]`, '['.repeat(50_000), `{"jsonrpc":"2.0","method":"${'x'.repeat(1e6)}"}`];

const wrongFrames: readonly ((random: Random) => Buffer)[] = [
  (random) => frame('{}', pick(random, lengths)),
  (random) => frame(pick(random, [...bodies, ...batches])),
  (random) => damageBytes(frame(question), random),
  () => Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'),
  () => Buffer.from('\r\n\r\n\r\n\r\n'),
  () => Buffer.alloc(1 << 20, 'x'),
  (random) => Buffer.from(Array.from({ length: 4096 }, () => below(random, 256))),
  (random) =>
    Buffer.concat([
      Buffer.from(`Content-Type: ${pick(random, ['x', 'application/x; charset=none', '\0'])}\r\n`),
      frame(question),
    ]),
  () => frame(Buffer.from([0xff, 0xfe, 0x00]).toString('latin1')),
];

export const frames: Kind = {
  name: 'frames',
  tries: 'bytes that are no messages to the language server: wrong lengths, headers, JSON, noise',
  promise: 'it answers the next question, or ends and says why on standard error; it never goes on without a word',
  attempts: 100,
  inTests: 2,
  lanes: 2,
  open: ({ program }) =>
    Promise.resolve(
      alone(async ({ random, folder }) => {
        const bad = pick(random, wrongFrames)(random);
        const server = startServer(program, folder);
        try {
          const verdict = await disturb(server, bad).catch((error: unknown) => failed(String(error)));
          const shown = JSON.stringify(bad.subarray(0, 100).toString('latin1'));
          return verdict.verdict === 'failed' ? failed(`${shown}: ${verdict.why}`) : verdict;
        } finally {
          server.kill('SIGKILL');
        }
      }),
    ),
};

async function disturb(server: ChildProcess, bad: Buffer): Promise<Verdict> {
  let [out, err] = ['', ''];
  const exited = once(server, 'exit');
  server.stdin!.on('error', () => {});
  server.stdout!.setEncoding('utf8').on('data', (text: string) => (out += text));
  server.stderr!.setEncoding('utf8').on('data', (text: string) => (err += text));
  server.stdin!.write(frame(initialize));
  const isGone = (): boolean => server.exitCode !== null || server.signalCode !== null;
  await within(
    until(() => out.includes('"id":1') || isGone()),
    'the server did not begin',
  );
  server.stdin!.write(bad);
  await wait(50);
  server.stdin!.write(frame(question));
  // What looks like the beginning of a message waits for its end: the end of the stream.
  await Promise.race([until(() => out.includes('"id":2') || isGone()), wait(1500)]);
  if (!out.includes('"id":2')) server.stdin!.end();
  else server.stdin!.destroy();
  const [code, signal] = (await within(exited, 'the server did not end with its input')) as [
    number | null,
    string | null,
  ];
  if (signal !== null) return failed(`it ended by ${signal}: ${err.slice(-500)}`);
  if (/^\s+at .*[:(]/m.test(err)) return failed(`it shows a stack: ${err.slice(-500)}`);
  if (!out.includes('"id":2') && err.trim() === '' && !waitsForMore(bad))
    return failed(`it ended with ${code} and without a word`);
  return held;
}

/** A sound header that announces more than has come, the question included: the rest may come any time. */
function waitsForMore(bytes: Buffer): boolean {
  const found = /^Content-Length: (\d{1,8})\r\n\r\n/.exec(bytes.toString('latin1'));
  return found !== null && bytes.length + frame(question).length - found[0].length < Number(found[1]);
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await wait(20);
}
