/** A server on this machine that speaks the hub's protocol, but for one misdeed. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import type { Random } from '../../backend/decoding/sampling/random.ts';
import { below } from './trial.ts';

export interface Misdeed {
  readonly name: string;
  /** How the command may end. */
  readonly codes: readonly number[];
  /** Answers in the place of the sound hub: true if it has answered. */
  readonly answer?: (exchange: Exchange) => boolean;
  /** Other names of files in the listing. */
  readonly names?: readonly string[];
  /** What the listing says of a file. */
  readonly describe?: (entry: Record<string, unknown>) => Record<string, unknown>;
  /** So many commands at once. */
  readonly together?: number;
  /** Ctrl-C after some seconds: waiting for a slow server is no fault. */
  readonly impatient?: boolean;
}

interface Exchange {
  readonly part: 'info' | 'tree' | 'file';
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Of a file. */
  readonly content: Buffer;
  /** Origin of this hub, and of a foreign one. */
  readonly here: string;
  readonly elsewhere: string;
  readonly random: Random;
}

const commit = '0123456789abcdef0123456789abcdef01234567';
const [done, refused, interrupted] = [0, 1, 130];

const on =
  (part: Exchange['part'], act: (exchange: Exchange) => void): NonNullable<Misdeed['answer']> =>
  (exchange) => {
    if (exchange.part !== part) return false;
    act(exchange);
    return true;
  };
const json = (response: ServerResponse, value: unknown, headers = {}): unknown =>
  response.writeHead(200, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value));
const redirect = (response: ServerResponse, location: string): unknown => response.writeHead(302, { location }).end();
const control = 'No.\u001b[2J\u001b]0;title\u0007\u202e\u0000 hf_page';

export const misdeeds: readonly Misdeed[] = [
  { name: 'none', codes: [done] },
  { name: 'none, twice at once', codes: [done], together: 2 },
  {
    name: 'pages that never end',
    codes: [refused],
    answer: on('tree', ({ response, here, random }) =>
      json(response, [{ type: 'file', path: `a${random()}`, size: 1, oid: 'a' }], {
        link: `<${here}/api/models/owner/name/tree/${commit}?cursor=${random()}>; rel="next"`,
      }),
    ),
  },
  {
    name: 'a next page elsewhere',
    codes: [refused],
    answer: on('tree', ({ response, elsewhere }) =>
      json(response, [], { link: `<${elsewhere}/api/models/owner/name/tree/${commit}>; rel="next"` }),
    ),
  },
  {
    name: 'a listing of 200,000 files',
    codes: [done, refused],
    answer: on('tree', ({ response }) =>
      json(
        response,
        Array.from({ length: 200_000 }, (_, i) => ({ type: 'file', path: `part-${i}.bin`, size: 1e12, oid: 'a' })),
      ),
    ),
  },
  {
    name: 'a listing that is no list',
    codes: [refused],
    answer: on('tree', ({ response }) => json(response, { error: control })),
  },
  {
    name: 'a listing of other kinds',
    codes: [refused],
    answer: on('tree', ({ response }) => json(response, [null, 1, 'x', {}, { type: 'file' }])),
  },
  {
    name: 'names that lead elsewhere',
    codes: [done, refused],
    names: ['../../../escaped', '/tmp/escaped', 'a/../../escaped', '..\\escaped', 'C:escaped'],
  },
  { name: 'sizes that are none', codes: [refused], describe: (entry) => ({ ...entry, size: -1 }) },
  { name: 'sizes of another file', codes: [refused], describe: (entry) => ({ ...entry, size: 12 }) },
  { name: 'sizes as text', codes: [refused], describe: (entry) => ({ ...entry, size: '12' }) },
  { name: 'more than the disk holds', codes: [refused], describe: (entry) => ({ ...entry, size: 1e15 }) },
  { name: 'neither sizes nor checksums', codes: [refused], describe: ({ type, path }) => ({ type, path }) },
  { name: 'checksums that are none', codes: [done], describe: (entry) => ({ ...entry, oid: 'x' }) },
  { name: 'no checksums', codes: [done], describe: ({ type, path, size }) => ({ type, path, size }) },
  { name: 'wrong checksums', codes: [refused], describe: (entry) => ({ ...entry, oid: 'f'.repeat(40) }) },
  {
    name: 'other bytes',
    codes: [refused],
    answer: on('file', ({ response, content, random }) => {
      const bytes = Buffer.from(content);
      bytes[below(random, bytes.length)]! ^= 1;
      response.writeHead(200, { 'content-length': bytes.length }).end(bytes);
    }),
  },
  {
    name: 'more bytes than announced',
    codes: [refused],
    answer: on('file', ({ response, content }) => response.writeHead(200).end(Buffer.concat([content, content]))),
  },
  {
    name: 'connections that break off at once',
    codes: [refused],
    answer: on('file', ({ response }) => response.destroy()),
  },
  {
    name: 'bytes one by one',
    codes: [interrupted],
    impatient: true,
    answer: on('file', ({ response, content }) => {
      response.writeHead(200, { 'content-length': content.length });
      const timer = setInterval(() => response.write('x'), 300);
      response.on('close', () => clearInterval(timer));
    }),
  },
  { name: 'no answer', codes: [interrupted], impatient: true, answer: on('info', () => {}) },
  { name: 'no commit', codes: [refused], answer: on('info', ({ response }) => json(response, { sha: '../../..' })) },
  {
    name: 'an error page with control characters',
    codes: [refused],
    answer: on('info', ({ response }) => response.writeHead(500, { 'content-type': 'text/html' }).end(control)),
  },
  {
    name: 'an error in JSON with control characters',
    codes: [refused],
    answer: on('info', ({ response }) =>
      response.writeHead(500, { 'content-type': 'application/json' }).end(JSON.stringify({ error: control })),
    ),
  },
  {
    name: 'an endless error page',
    codes: [refused, interrupted],
    impatient: true,
    answer: on('info', ({ response }) => {
      response.writeHead(500);
      const more = (): void => {
        while (!response.destroyed && response.write('x'.repeat(65_536)));
        if (!response.destroyed) response.once('drain', more);
      };
      more();
    }),
  },
  { name: 'no JSON', codes: [refused], answer: on('info', ({ response }) => response.writeHead(200).end('<html>')) },
  {
    name: 'a redirect to itself',
    codes: [refused],
    answer: on('file', ({ response, request, here }) => redirect(response, `${here}${request.url ?? ''}`)),
  },
  {
    name: 'a redirect to another host',
    codes: [done, refused],
    answer: on('file', ({ response, request, elsewhere }) => redirect(response, `${elsewhere}${request.url ?? ''}`)),
  },
  {
    name: 'a redirect to a file',
    codes: [refused],
    answer: on('file', ({ response }) => redirect(response, 'file:///etc/passwd')),
  },
  { name: 'forbidden', codes: [refused], answer: on('info', ({ response }) => response.writeHead(403).end(control)) },
];

export interface Hub {
  readonly endpoint: string;
  /** True if the foreign host has seen the token. */
  leaked(): boolean;
  close(): Promise<void>;
}

/** Serves the files of `model` as `owner/name`. */
export async function openHub(misdeed: Misdeed, model: string, random: Random): Promise<Hub> {
  const files = new Map(readdirSync(model).map((name) => [name, readFileSync(path.join(model, name))]));
  let leaked = false;
  const foreign = createServer((request, response) => {
    leaked ||= request.headers.authorization !== undefined;
    serveFile(files, request, response);
  });
  const elsewhere = await listen(foreign, 'localhost');
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://host');
    const part = url.pathname.includes('/revision/') ? 'info' : url.pathname.includes('/tree/') ? 'tree' : 'file';
    const content = files.get(path.basename(url.pathname)) ?? Buffer.alloc(0);
    if (misdeed.answer?.({ part, request, response, content, here, elsewhere, random })) return;
    if (part === 'info')
      json(response, { _id: '1', id: 'owner/name', sha: commit, lastModified: '2024-01-01T00:00:00Z' });
    else if (part === 'tree') json(response, listing(files, misdeed));
    else serveFile(files, request, response);
  });
  const here = await listen(server, '127.0.0.1');
  return {
    endpoint: here,
    leaked: () => leaked,
    close: async () => void (await Promise.all([server, foreign].map(close))),
  };
}

function listing(files: ReadonlyMap<string, Buffer>, { names = [], describe }: Misdeed): unknown[] {
  const more = names.map((name) => [name, Buffer.from('x')] as const);
  return [...files, ...more].map(([name, content]) => {
    const oid = createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');
    const entry = { type: 'file', path: name, size: content.length, oid };
    return describe ? describe(entry) : entry;
  });
}

function serveFile(files: ReadonlyMap<string, Buffer>, request: IncomingMessage, response: ServerResponse): void {
  const content = files.get(path.basename(new URL(request.url ?? '/', 'http://host').pathname));
  if (!content) return void response.writeHead(404).end();
  const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
  const rest = content.subarray(from);
  const range = { 'content-range': `bytes ${from}-${content.length - 1}/${content.length}` };
  response.writeHead(from > 0 ? 206 : 200, { 'content-length': rest.length, ...(from > 0 && range) }).end(rest);
}

async function listen(server: Server, host: string): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  return `http://${host}:${(server.address() as AddressInfo).port}`;
}

const close = (server: Server): Promise<void> =>
  new Promise((resolve) => {
    server.closeAllConnections();
    server.close(() => resolve());
  });
