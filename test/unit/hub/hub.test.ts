/** Downloads against a server on this machine that speaks the hub's protocol and misbehaves on request. */
import { createHash } from 'node:crypto';
import type * as nodeFs from 'node:fs';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { hubAccess, parseHubReference, resolveModel } from '../../../backend/hub/hub.ts';
import { UserError } from '../../../protocol/errors.ts';
import { random } from '../../support/random.ts';
import { temporaryFolder } from '../formats/fixtures.ts';

/** Bytes left on the disk; null for those that are. */
const disk = vi.hoisted(() => ({ left: null as number | null }));
vi.mock('node:fs', async (original) => {
  const fs = await original<typeof nodeFs>();
  const statfsSync = (path: string): object =>
    disk.left === null ? fs.statfsSync(path) : { bavail: disk.left, bsize: 1 };
  return { ...fs, statfsSync };
});

const commit = '0123456789abcdef0123456789abcdef01234567';
const next = random(1);
const weights = Buffer.from(Array.from({ length: 300_000 }, () => Math.floor(next() * 256)));
const repository: Record<string, Buffer> = {
  'README.md': Buffer.from('read me'),
  'config.json': Buffer.from('{"model_type": "llama"}'),
  'tokenizer.json': Buffer.from('{}'),
  'model.safetensors': weights,
};

interface Behaviour {
  files?: Record<string, Buffer>;
  /** Sends this number of bytes of the weights, then breaks the connection; one entry a request. */
  breaks?: number[];
  ignoreRanges?: boolean;
  /** Once a connection has broken, a page comes instead of the weights. */
  loggedOut?: boolean;
  corrupt?: boolean;
  status?: number;
  /** Of an answer with that status. */
  page?: string;
  /** Where the list of files goes on; `self` for the same page again. */
  next?: string;
  noChecksum?: boolean;
  /** What the list says of each file beside that. */
  described?: object;
  /** Never sends more than the start of the weights. */
  stall?: boolean;
}

interface Hub {
  environment: Record<string, string>;
  cacheDirectory: string;
  /** Paths asked for, with the range. */
  requests: string[];
  tokens: (string | undefined)[];
  close: () => Promise<void>;
}

async function hub(behaviour: Behaviour = {}): Promise<Hub> {
  const files = behaviour.files ?? repository;
  const requests: string[] = [];
  const tokens: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://host');
    tokens.push(request.headers.authorization);
    requests.push(`${url.pathname}${request.headers.range ? ` ${request.headers.range}` : ''}`);
    if (behaviour.status !== undefined) {
      response
        .writeHead(behaviour.status, { 'content-type': 'application/json' })
        .end(behaviour.page ?? '{"error":"no"}');
    } else if (url.pathname === '/api/models/owner/name/revision/main') {
      json(response, { _id: '1', id: 'owner/name', sha: commit, lastModified: '2024-01-01T00:00:00Z' });
    } else if (url.pathname === `/api/models/owner/name/tree/${commit}`) {
      const own = `http://${request.headers.host}${request.url}`;
      if (behaviour.next)
        response.setHeader('link', `<${behaviour.next === 'self' ? own : behaviour.next}>; rel="next"`);
      json(
        response,
        Object.entries(files).map(([path, content]) => ({
          ...entry(path, content, behaviour.noChecksum),
          ...behaviour.described,
        })),
      );
    } else {
      const path = decodeURIComponent(url.pathname.replace(`/owner/name/resolve/${commit}/`, ''));
      const content = files[path];
      if (content === undefined) response.writeHead(404).end();
      else send(response, content, request.headers.range, path.endsWith('.safetensors') ? behaviour : {});
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.closeAllConnections();
      server.close(() => resolve());
    });
  onTestFinished(close);
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const home = temporaryFolder();
  return {
    environment: { HF_ENDPOINT: endpoint, HF_HOME: home },
    cacheDirectory: temporaryFolder(),
    requests,
    tokens,
    close,
  };
}

const json = (response: ServerResponse, value: unknown): unknown =>
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));

function entry(path: string, content: Buffer, bare = false): object {
  if (bare) return { type: 'file', path, size: content.length };
  const size = content.length;
  const oid = createHash('sha1').update(`blob ${size}\0`).update(content).digest('hex');
  const lfs = { oid: createHash('sha256').update(content).digest('hex'), size, pointerSize: 130 };
  return size > 1000 ? { type: 'file', path, size: 130, oid: 'pointer', lfs } : { type: 'file', path, size, oid };
}

function send(response: ServerResponse, content: Buffer, range: string | undefined, behaviour: Behaviour): void {
  if (behaviour.loggedOut && behaviour.breaks?.length === 0) return void response.end('please login');
  const from = behaviour.ignoreRanges ? 0 : Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0);
  const rest = Buffer.from(content.subarray(from));
  if (behaviour.corrupt) rest[10] = rest[10]! ^ 1;
  response.writeHead(from > 0 ? 206 : 200, {
    'content-length': rest.length,
    ...(from > 0 && { 'content-range': `bytes ${from}-${content.length - 1}/${content.length}` }),
  });
  const length = behaviour.breaks?.shift();
  if (behaviour.stall) response.write(rest.subarray(0, 1000));
  else if (length === undefined) response.end(rest);
  else response.write(rest.subarray(0, length), () => setTimeout(() => response.destroy(), 20));
}

const refused = async (promise: Promise<string>): Promise<UserError> => {
  const error: unknown = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (!(error instanceof UserError)) throw new Error(`expected the user's error, got ${String(error)}`);
  return error;
};

const files = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((one) => one.isFile())
    .map(({ name }) => name)
    .sort();

describe('parseHubReference', () => {
  it.each([
    ['owner/name', { repository: 'owner/name', revision: 'main', file: null }],
    ['owner/na.me-1@v2', { repository: 'owner/na.me-1', revision: 'v2', file: null }],
    ['owner/name:a/b.gguf', { repository: 'owner/name', revision: 'main', file: 'a/b.gguf' }],
    ['owner/name@refs/pr/1:b.gguf', { repository: 'owner/name', revision: 'refs/pr/1', file: 'b.gguf' }],
  ])('reads %s', (reference, expected) => {
    expect(parseHubReference(reference)).toEqual(expected);
  });

  it.each([
    'name',
    './owner/name',
    '/owner/name',
    '~/name',
    'a/b/c',
    'models/m.gguf',
    'owner/name:../x',
    'a\\b',
    'C:/x',
    '',
  ])('takes %s for a path', (reference) => {
    expect(parseHubReference(reference)).toBeNull();
  });
});

describe('resolveModel', () => {
  it('takes what is there as it is', async () => {
    expect(await resolveModel('models/typescript-5m')).toBe('models/typescript-5m');
    expect((await refused(resolveModel('./nowhere'))).code).toBe('not-found');
  });

  it('downloads the files of a model once, then needs no hub', async () => {
    const server = await hub();
    const progress: [number, number][] = [];
    const path = await resolveModel('owner/name', {
      ...server,
      onProgress: (done, total) => progress.push([done, total]),
    });
    expect(files(path)).toEqual(['config.json', 'model.safetensors', 'tokenizer.json']);
    expect(readFileSync(join(path, 'model.safetensors')).equals(weights)).toBe(true);
    const total = 300_000 + 23 + 2;
    expect(progress.at(-1)).toEqual([total, total]);
    expect(progress.every(([done], i) => i === 0 || done >= progress[i - 1]![0])).toBe(true);
    await server.close();
    expect(await resolveModel('owner/name', server)).toBe(path);
    const error = await refused(resolveModel('owner/other', server));
    expect(error).toMatchObject({ code: 'network' });
    expect(error.message).toMatch(/Cannot download owner\/other from http:\/\/127.0.0.1/);
  });

  it('resumes a broken connection where it stopped', async () => {
    const server = await hub({ breaks: [100_000, 50_000] });
    const path = await resolveModel('owner/name', server);
    expect(readFileSync(join(path, 'model.safetensors')).equals(weights)).toBe(true);
    const ranges = server.requests
      .filter((request) => request.includes('model.safetensors'))
      .map((r) => r.split(' ')[1]);
    expect(ranges).toEqual([undefined, 'bytes=100000-', 'bytes=150000-']);
  });

  it('resumes in a later run after it was stopped, and leaves no half file under its name', async () => {
    const server = await hub({ breaks: [120_000] });
    const controller = new AbortController();
    const onProgress = (done: number): void => {
      if (done > 60_000) controller.abort();
    };
    const error = await refused(resolveModel('owner/name', { ...server, onProgress, signal: controller.signal }));
    expect(error.code).toBe('cancelled');
    expect(files(server.cacheDirectory)).toEqual(['config.json', 'model.safetensors.partial', 'tokenizer.json']);
    server.requests.length = 0;
    const path = await resolveModel('owner/name', server);
    expect(readFileSync(join(path, 'model.safetensors')).equals(weights)).toBe(true);
    const fetched = server.requests.filter((request) => request.includes('/resolve/'));
    expect(fetched).toHaveLength(1);
    expect(fetched[0]).toMatch(/model\.safetensors bytes=\d+-$/);
  });

  it('shows a directory before its weights come, also when it goes on, and downloads none if it is refused', async () => {
    const server = await hub();
    const refuse = (folder: string): never => {
      throw new UserError('unsupported', `not this: ${files(folder).join()}`);
    };
    for (let time = 0; time < 2; time++) {
      const { message } = await refused(resolveModel('owner/name', { ...server, inspect: refuse }));
      expect(message).toBe('not this: config.json,tokenizer.json');
    }
    expect(server.requests.some((request) => request.includes('model.safetensors'))).toBe(false);
    const inspect = vi.fn();
    const path = await resolveModel('owner/name', { ...server, inspect });
    expect(inspect.mock.calls).toEqual([[path]]);
  });

  it('shows the beginning of a GGUF file, and downloads no more of one that is refused', async () => {
    const server = await hub({ files: { 'm.gguf': weights } });
    let there = 0;
    for (const code of ['unsupported', 'bad-weights'] as const) {
      const refuse = (part: string, file: string): never => {
        there = statSync(part).size;
        throw new UserError(code, `not ${basename(file)}`);
      };
      const refusal = await refused(resolveModel('owner/name', { ...server, inspectGguf: refuse }));
      expect(refusal.message).toBe('not m.gguf');
      expect(there).toBeGreaterThanOrEqual(2 ** 16);
      expect(files(server.cacheDirectory)).toEqual([]);
    }
    const inspectGguf = vi.fn();
    const path = await resolveModel('owner/name', { ...server, inspectGguf });
    expect(inspectGguf.mock.calls).toEqual([[`${path}.partial`, path]]);
    expect(readFileSync(path)).toEqual(weights);
  });

  it.each([
    ['owner/name:model.safetensors', 'model.safetensors of owner/name is no GGUF file.', repository],
    [
      'owner/name',
      'owner/name has 1 of the 2 parts of its weights.',
      {
        'config.json': repository['config.json']!,
        'tokenizer.json': repository['tokenizer.json']!,
        'model.safetensors.index.json': Buffer.from('{}'),
        'model-00001-of-00002.safetensors': weights,
      },
    ],
  ])('downloads nothing of %s where %s', async (reference, sentence, files) => {
    const server = await hub({ files });
    expect((await refused(resolveModel(reference, server))).message).toBe(sentence);
    expect(server.requests.some((request) => request.includes('/resolve/'))).toBe(false);
  });

  it.each(['config.json', 'tokenizer.json'])('downloads nothing of a directory without %s', async (name) => {
    const others = Object.fromEntries(Object.entries(repository).filter(([file]) => file !== name));
    const server = await hub({ files: others });
    const { code, message } = await refused(resolveModel('owner/name', server));
    expect([code, message]).toEqual([
      'unsupported',
      `owner/name has no ${name}, without which its weights cannot be used here.`,
    ]);
    expect(server.requests.some((request) => request.includes('/resolve/'))).toBe(false);
  });

  it('needs room only for what is not here yet', async () => {
    const server = await hub();
    onTestFinished(() => void (disk.left = null));
    disk.left = 100_100;
    const { code, message } = await refused(resolveModel('owner/name', server));
    expect([code, message]).toEqual([
      'file-system',
      expect.stringMatching(/^The download needs 0 MB, but .* has 0 MB left/),
    ]);
    const folder = join(server.cacheDirectory, 'owner--name', commit);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'model.safetensors.partial'), weights.subarray(0, 200_000));
    const path = await resolveModel('owner/name', server);
    expect(readFileSync(join(path, 'model.safetensors')).equals(weights)).toBe(true);
  });

  it.each(['hf-mirror.com', 'localhost:8080', 'file:///models'])('says that %s is no address', async (endpoint) => {
    const server = await hub();
    const environment = { ...server.environment, HF_ENDPOINT: endpoint };
    const { code, message } = await refused(resolveModel('owner/name', { ...server, environment }));
    expect([code, message]).toEqual(['bad-argument', `HF_ENDPOINT is no address: ${endpoint}.`]);
  });

  it('takes empty variables for missing ones', () => {
    const home = temporaryFolder();
    mkdirSync(join(home, 'huggingface'));
    writeFileSync(join(home, 'huggingface', 'token'), 'hf_secret\n');
    const environment = { HF_ENDPOINT: '', HF_TOKEN: '', HF_HOME: '', XDG_CACHE_HOME: home };
    const { endpoint, token } = hubAccess('https://hub.example', environment, undefined);
    expect([endpoint, token]).toEqual(['https://hub.example', 'hf_secret']);
  });

  it('starts anew where the server does not resume', async () => {
    const server = await hub({ breaks: [100_000], ignoreRanges: true });
    const path = await resolveModel('owner/name', server);
    expect(readFileSync(join(path, 'model.safetensors')).equals(weights)).toBe(true);
  });

  it('keeps what an earlier download left where a proxy answers with a page of its own', async () => {
    const server = await hub({ breaks: [100_000], loggedOut: true });
    const error = await refused(resolveModel('owner/name', server));
    expect(error.message).toMatch(/sends 12 bytes instead of \d+/);
    const partial = readdirSync(server.cacheDirectory, { recursive: true, encoding: 'utf8' }).find((name) =>
      name.endsWith('.partial'),
    );
    expect(statSync(join(server.cacheDirectory, partial!)).size).toBe(100_000);
  });

  it('stops while the server says nothing', async () => {
    const server = await hub({ stall: true });
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 200);
    expect((await refused(resolveModel('owner/name', { ...server, signal: controller.signal }))).code).toBe(
      'cancelled',
    );
  });

  it('refuses damaged data and keeps none of it', async () => {
    const server = await hub({ corrupt: true });
    const error = await refused(resolveModel('owner/name', server));
    expect(error.message).toMatch(/model\.safetensors of owner\/name arrived damaged/);
    expect(files(server.cacheDirectory)).toEqual(['config.json', 'tokenizer.json']);
  });

  it('says what the hub refuses', async () => {
    const gated = await refused(resolveModel('owner/name', await hub({ status: 403 })));
    expect(gated).toMatchObject({ code: 'network', wayOut: expect.stringContaining('HF_TOKEN') as string });
    const missing = await refused(resolveModel('owner/name', await hub({ status: 404 })));
    expect(missing.code).toBe('not-found');
    expect(missing.message).toMatch(/no model owner\/name, neither on this machine nor at http/);
    expect((await refused(resolveModel('owner/name', await hub({ status: 500 })))).code).toBe('network');
  });

  it('takes one GGUF file, asks which of several, and never one outside its folder', async () => {
    const one = { 'README.md': Buffer.from('x'), 'm.Q4_K_M.gguf': Buffer.from('GGUF') };
    const single = await hub({ files: one });
    expect(await resolveModel('owner/name', single)).toMatch(/m\.Q4_K_M\.gguf$/);
    const two = { 'sub/m.Q8_0.gguf': Buffer.from('GGUF8'), ...one, '../evil.gguf': Buffer.from('GGUF') };
    const several = await hub({ files: two });
    const error = await refused(resolveModel('owner/name', several));
    expect(error.message).toBe('owner/name has 2 GGUF files.');
    expect(error.wayOut).toBe('Name one, as in owner/name:m.Q4_K_M.gguf. It has sub/m.Q8_0.gguf, m.Q4_K_M.gguf.');
    const path = await resolveModel('owner/name:sub/m.Q8_0.gguf', several);
    expect(readFileSync(path, 'utf8')).toBe('GGUF8');
    expect((await refused(resolveModel('owner/name:x.gguf', several))).code).toBe('not-found');
    expect((await refused(resolveModel('owner/name', await hub({ files: { a: Buffer.from('x') } })))).code).toBe(
      'unsupported',
    );
  });

  it.each(['hf_secret', 'abc'])('gives its token %s to the hub alone, wherever its pages lead', async (token) => {
    const seen: (string | undefined)[] = [];
    const foreign = createServer((request, response) => {
      seen.push(request.headers.authorization);
      json(response, []);
    });
    await new Promise<void>((resolve) => foreign.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void foreign.close());
    const next = `http://127.0.0.1:${(foreign.address() as AddressInfo).port}/next`;
    const server = await hub({ next });
    await resolveModel('owner/name', { ...server, environment: { ...server.environment, HF_TOKEN: token } });
    expect(seen).toEqual([undefined]);
    expect(new Set(server.tokens)).toEqual(new Set([`Bearer ${token}`]));
  });

  it('follows no list without an end', async () => {
    const server = await hub({ next: 'self' });
    expect((await refused(resolveModel('owner/name', server))).message).toMatch(/has more than/);
  });

  it('says that a file came without a checksum', async () => {
    const warnings: string[] = [];
    const server = await hub({ noChecksum: true });
    await resolveModel('owner/name', { ...server, onWarning: (message) => warnings.push(message) });
    expect(warnings).toContain('config.json of owner/name came without a checksum: only its size could be checked.');
  });

  it.each([undefined, null, '12', -1, 0.5, 2 ** 60])(
    'takes no file of which the hub says the size %j',
    async (size) => {
      const server = await hub({ noChecksum: true, described: { size } });
      const { message } = await refused(resolveModel('owner/name', server));
      expect(message).toMatch(
        /does not say how large config\.json of owner\/name is: what comes could not be checked\.$/,
      );
      expect(server.requests.filter((path) => path.includes('/resolve/'))).toEqual([]);
    },
  );

  it.each(['', 'a', 5, 'x'.repeat(40), 'A'.repeat(64)])('takes %j for no checksum, and says so', async (oid) => {
    const warnings: string[] = [];
    const server = await hub({ noChecksum: true, described: { oid } });
    await resolveModel('owner/name', { ...server, onWarning: (message) => warnings.push(message) });
    expect(warnings).toContain(
      'model.safetensors of owner/name came without a checksum: only its size could be checked.',
    );
  });

  it('loads a file once where two ask for it at the same time', async () => {
    const server = await hub({ breaks: [100_000] });
    const paths = await Promise.all([resolveModel('owner/name', server), resolveModel('owner/name', server)]);
    expect(paths[0]).toBe(paths[1]);
    expect(readFileSync(join(paths[0], 'model.safetensors')).equals(weights)).toBe(true);
    expect(server.requests.filter((request) => request.includes('/resolve/'))).toHaveLength(4);
    expect(files(server.cacheDirectory).filter((name) => name.includes('lock'))).toEqual([]);
  });

  it('shows the control characters of an error page', async () => {
    const server = await hub({ status: 500, page: '{"error":"\\u001b]0;owned\\u0007"}' });
    const { message } = await refused(resolveModel('owner/name', server));
    expect(message).not.toMatch(/[\u0000-\u001f]/);
  });

  it('takes all shards', async () => {
    const sharded = {
      'config.json': Buffer.from('{}'),
      'tokenizer.json': Buffer.from('{}'),
      'model.safetensors.index.json': Buffer.from('{"weight_map":{}}'),
      'model-00001-of-00002.safetensors': Buffer.from('one'),
      'model-00002-of-00002.safetensors': Buffer.from('two'),
      'consolidated.safetensors': Buffer.from('again'),
    };
    const path = await resolveModel('owner/name', await hub({ files: sharded }));
    expect(files(path)).toEqual(
      Object.keys(sharded)
        .filter((name) => !name.startsWith('cons'))
        .sort(),
    );
  });

  it('takes all parts of a GGUF model, named by one of them or alone in its repository', async () => {
    const parts = Object.fromEntries([1, 2, 3].map((n) => [`m-0000${n}-of-00003.gguf`, Buffer.from(`part ${n}`)]));
    for (const reference of ['owner/name', 'owner/name:m-00002-of-00003.gguf']) {
      const path = await resolveModel(reference, await hub({ files: parts }));
      expect(path).toMatch(reference.includes(':') ? /m-00002-of-00003\.gguf$/ : /m-00001-of-00003\.gguf$/);
      expect(Object.keys(parts).every((name) => existsSync(join(dirname(path), name)))).toBe(true);
    }
    const two = Object.fromEntries(Object.entries(parts).filter(([name]) => !name.startsWith('m-00002')));
    const { message } = await refused(resolveModel('owner/name:m-00001-of-00003.gguf', await hub({ files: two })));
    expect(message).toBe('owner/name has 2 of the 3 parts of m-00001-of-00003.gguf.');
  });

  it('uses what another Hugging Face program has downloaded', async () => {
    const server = await hub({ status: 500 });
    const root = join(server.environment['HF_HOME']!, 'hub', 'models--owner--name');
    const snapshot = join(root, 'snapshots', commit);
    mkdirSync(join(root, 'refs'), { recursive: true });
    mkdirSync(snapshot, { recursive: true });
    writeFileSync(join(root, 'refs', 'main'), commit);
    for (const name of ['config.json', 'tokenizer.json']) writeFileSync(join(snapshot, name), '{}');
    expect((await refused(resolveModel('owner/name', server))).code).toBe('network');
    writeFileSync(join(snapshot, 'model.safetensors'), '');
    expect(await resolveModel('owner/name', server)).toBe(snapshot);
    expect(existsSync(join(server.cacheDirectory, 'owner--name', 'refs'))).toBe(false);
  });

  it('uses a model in parts only where all of them have been downloaded', async () => {
    const server = await hub({ status: 500 });
    const root = join(server.environment['HF_HOME']!, 'hub', 'models--owner--name');
    const snapshot = join(root, 'snapshots', 'main');
    mkdirSync(snapshot, { recursive: true });
    const reference = 'owner/name:m-00001-of-00002.gguf';
    writeFileSync(join(snapshot, 'm-00001-of-00002.gguf'), 'GGUF');
    expect((await refused(resolveModel(reference, server))).code).toBe('network');
    // A link to what is not there yet.
    symlinkSync(join(root, 'blobs', 'abc'), join(snapshot, 'm-00002-of-00002.gguf'));
    expect((await refused(resolveModel(reference, server))).code).toBe('network');
    rmSync(join(snapshot, 'm-00002-of-00002.gguf'));
    writeFileSync(join(snapshot, 'm-00002-of-00002.gguf'), 'GGUF');
    expect(await resolveModel(reference, server)).toBe(join(snapshot, 'm-00001-of-00002.gguf'));
  });
});
