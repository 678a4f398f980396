/** How the program ends when its output, its terminal or its user goes: with 0, 1 or 130, never by a native abort. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { importExits } from '../../../backend/recipes/import.ts';
import { parseOptions } from '../../../protocol/options/options.ts';
import { bundled } from '../../support/bundled.ts';

const root = path.resolve(import.meta.dirname, '../../..');
/** Nothing was used before. */
const cache = mkdtempSync(path.join(tmpdir(), 'early-exit-leaving-'));
const long = ['generate', '--prompt', 'export function', '--max-tokens', '450', '--threads', '1'];

const start = (words: readonly string[], out: 'pipe' | number = 'pipe'): ChildProcess =>
  spawn(process.execPath, [bundled('cli'), ...words], {
    cwd: root,
    env: { ...process.env, NO_COLOR: '1', EARLY_EXIT_CACHE: cache },
    stdio: ['pipe', out, 'pipe'],
  });

/** The code that a shell would see. */
async function ended(child: ChildProcess): Promise<number> {
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return code ?? (signal === 'SIGINT' ? 130 : 134);
}

/** Whether a process has a file of this name open. */
function hasOpen({ pid }: ChildProcess, name: string): boolean {
  const folder = `/proc/${pid}/fd`;
  try {
    return readdirSync(folder).some((each) => path.basename(readlinkSync(path.join(folder, each))) === name);
  } catch {
    // It closes files meanwhile.
    return false;
  }
}

/** Adds 4 GiB that no model needs to a file of weights; they take no space on the disk. */
function grow(weights: string): void {
  const file = readFileSync(weights);
  const start = 8 + file.readUInt32LE(0);
  const header = JSON.parse(file.toString('utf8', 8, start)) as Record<string, unknown>;
  const [from, to] = [file.length - start, file.length - start + 2 ** 32];
  const text = JSON.stringify({ ...header, unused: { dtype: 'F32', shape: [2 ** 30], data_offsets: [from, to] } });
  const length = Buffer.alloc(8);
  length.writeUInt32LE(text.length);
  writeFileSync(weights, Buffer.concat([length, Buffer.from(text), file.subarray(start)]));
  truncateSync(weights, 8 + text.length + to);
}

describe.skipIf(process.platform === 'win32')('early-exit', () => {
  it('ends well when the reader of its output has seen enough', async () => {
    for (let round = 0; round < 2; round++) {
      const child = start(long);
      child.stderr!.resume();
      const end = ended(child);
      await once(child.stdout!, 'data');
      child.stdout!.destroy();
      expect(await end).toBe(0);
    }
  });

  it('ends at once at the second Ctrl-C', async () => {
    for (let round = 0; round < 2; round++) {
      const child = start(long);
      const end = ended(child);
      let err = '';
      child.stderr!.setEncoding('utf8').on('data', (more: string) => {
        err += more;
        if (err.includes('Stopping')) setTimeout(() => child.kill('SIGINT'), 500);
      });
      await once(child.stdout!, 'data');
      child.kill('SIGINT');
      expect(await end).toBe(130);
    }
  });

  it('takes two signals of one Ctrl-C, as under npx, for one: what was learned is saved', async () => {
    const out = path.join(cache, 'twice.exits');
    const child = start([
      'tune',
      '--data',
      'protocol/**/*.ts',
      '--minutes',
      '3',
      '--out',
      out,
      '--threads',
      '1',
      '--json',
    ]);
    const end = ended(child);
    let events = '';
    child.stderr!.resume();
    await new Promise<void>((resolve) => {
      child.stdout!.setEncoding('utf8').on('data', (more: string) => {
        events += more;
        if (events.includes('"type":"step"')) resolve();
      });
    });
    child.kill('SIGINT');
    setTimeout(() => child.kill('SIGINT'), 30);
    expect(await end).toBe(130);
    expect(readdirSync(out)).toContain('exits.safetensors');
  });

  it.skipIf(process.platform !== 'linux')('is interrupted while it looks for the model of exits', async () => {
    const [model, exits] = [path.join(cache, 'large'), path.join(cache, 'large.exits')];
    cpSync(path.join(root, 'test/fixtures/golden/tiny/llama-tied'), model, { recursive: true });
    process.env['EARLY_EXIT_CACHE'] = cache;
    const options = parseOptions('import', { model, layers: '1', out: exits });
    for await (const event of importExits(options, new AbortController().signal))
      expect(event.type).not.toBe('warning');
    // Its hash takes seconds.
    grow(path.join(model, 'model.safetensors'));
    const child = start(['generate', '--exits', exits, '--prompt', 'x']);
    const [end, err] = [ended(child), text(child.stderr!)];
    while (child.exitCode === null && !hasOpen(child, 'model.safetensors'))
      await new Promise((resolve) => setTimeout(resolve, 5));
    child.kill('SIGINT');
    expect(await end).toBe(130);
    expect(await err).toBe('Stopping; Ctrl-C again ends at once.\n');
    rmSync(model, { recursive: true });
  });

  it.skipIf(process.platform !== 'linux')('says that the disk is full', async () => {
    const child = start(long, openSync('/dev/full', 'w'));
    const [code, err] = await Promise.all([ended(child), text(child.stderr!)]);
    expect(code).toBe(1);
    expect(err).toContain('error The output cannot be written: the disk is full.\n');
  });

  it('takes a terminal that closes for a Ctrl-C', async () => {
    const child = start(long);
    child.stderr!.resume();
    const end = ended(child);
    await once(child.stdout!, 'data');
    child.kill('SIGHUP');
    child.stderr!.destroy();
    expect(await end).toBe(130);
  });

  it('goes on when its progress is no longer read', async () => {
    const child = start([...long, '--json']);
    child.stderr!.destroy();
    const [code, out] = await Promise.all([ended(child), text(child.stdout!)]);
    expect(code).toBe(0);
    expect(out.trim().split('\n').at(-1)).toContain('"type":"generated"');
  });

  it('does not wait for the end of a prompt from standard input', async () => {
    const child = start(['generate', '--prompt', '-']);
    const end = ended(child);
    let err = '';
    child.stderr!.setEncoding('utf8').on('data', (more: string) => (err += more));
    // More than a pipe holds: it goes through once the program reads.
    child.stdin!.write('export '.repeat(100_000));
    await once(child.stdin!, 'drain');
    child.kill('SIGINT');
    expect(await end).toBe(130);
    expect(err).toContain('Stopping');
  });
});
