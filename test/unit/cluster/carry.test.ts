/** What comes back from a cluster that shares no folder: all of it, by its hashes, or nothing; and what is too much is not sent. */
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import * as http from 'node:http';
import type { AddressInfo } from 'node:net';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { copyResults, largestUpload, requireSmall } from '../../../backend/cluster/carry.ts';
import type { SessionFile } from '../../../backend/cluster/ray.ts';

let directory: string;
let server: http.Server;
let folder: SessionFile;
/** What the cluster has, by name, and what it says that it has. */
let files: Record<string, string>;
let listed: Record<string, unknown>;
let asked: string[];

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
const listing = (names: readonly string[]): Record<string, unknown> =>
  Object.fromEntries(
    names.map((name) => [name, { bytes: Buffer.byteLength(files[name]!), sha256: sha256(files[name]!) }]),
  );

beforeEach(async () => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'carry-'));
  files = {
    'exits.json': '{"format": "early-exit"}',
    'exits.safetensors': 'values',
    'metrics.jsonl': '{"step": 1}\n',
    'state/state.json': '{"file": "step-2-a1.safetensors"}',
    'state/step-2-a1.safetensors': 'moments',
    // Of a run that trains the whole model.
    'state/best.safetensors': 'the best model and its exits',
  };
  listed = listing(Object.keys(files));
  asked = [];
  server = http.createServer((request, response) => {
    const { searchParams } = new URL(request.url!, 'http://localhost');
    expect([searchParams.get('node_id'), searchParams.get('lines')]).toEqual(['n0', '-1']);
    const name = searchParams.get('filename')!.replace(/^early-exit-1\//, '');
    asked.push(name);
    const text = name === 'distributed/results.json' ? JSON.stringify({ files: listed }) : files[name];
    response.writeHead(text === undefined ? 500 : 200).end(text);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  folder = { url, node: 'n0', name: 'early-exit-1' };
});
afterEach(() => {
  server.close();
  fs.rmSync(directory, { recursive: true, force: true });
});

const here = (): Record<string, string> =>
  Object.fromEntries(
    fs
      .readdirSync(directory, { recursive: true, withFileTypes: true })
      .filter((each) => each.isFile())
      .map((each) => path.join(each.parentPath, each.name))
      .map((file) => [path.relative(directory, file).replaceAll('\\', '/'), fs.readFileSync(file, 'utf8')]),
  );

describe('what a run has saved', () => {
  it('is copied, and the next time only what changed', async () => {
    const have = new Map<string, string>();
    expect(await copyResults(folder, directory, have)).toBe(true);
    expect(here()).toEqual(files);
    const before = { ...files };
    delete files['state/step-2-a1.safetensors'];
    Object.assign(files, {
      'state/state.json': '{"file": "step-4-b2.safetensors"}',
      'state/step-4-b2.safetensors': 'later moments',
      'metrics.jsonl': `${before['metrics.jsonl']}{"step": 3}\n`,
    });
    listed = listing(Object.keys(files));
    asked = [];
    await copyResults(folder, directory, have);
    expect(here()).toEqual(files);
    expect(asked).not.toContain('exits.safetensors');
  });

  it('is taken as far as it is listed, since lines go on to grow', async () => {
    files['metrics.jsonl'] += '{"step": 2}\n';
    await copyResults(folder, directory, new Map());
    expect(here()['metrics.jsonl']).toBe('{"step": 1}\n');
  });

  it('is nothing before there is a list', async () => {
    server.removeAllListeners('request');
    server.on('request', (_, response: http.ServerResponse) => response.writeHead(500).end('A file is not found'));
    expect(await copyResults(folder, directory, new Map())).toBe(false);
    expect(here()).toEqual({});
  });

  it('changes nothing here where a part is missing or is not what its hash says', async () => {
    await copyResults(folder, directory, new Map());
    const before = here();
    files['exits.json'] = '{"format": "early-exit", "step": 5}';
    files['exits.safetensors'] = 'new values';
    listed = listing(Object.keys(files));
    files['exits.safetensors'] = 'bad values';
    await expect(copyResults(folder, directory, new Map())).rejects.toThrow(
      `What the Ray cluster at ${folder.url} sent of the run is not what it says by its hashes.`,
    );
    delete files['exits.safetensors'];
    await expect(copyResults(folder, directory, new Map())).rejects.toThrow('is not what it says by its hashes');
    expect(here()).toEqual(before);
  });

  it('is written under the names of a checkpoint, and no other', async () => {
    const outside = ['../outside', 'state/../../outside', '.lock', 'README.md', 'state/step-1-a.safetensors/x'];
    for (const name of outside) files[name] = 'no';
    listed = listing(Object.keys(files));
    await copyResults(folder, directory, new Map());
    expect(Object.keys(here()).sort()).toEqual(
      Object.keys(files)
        .filter((name) => !outside.includes(name))
        .sort(),
    );
    expect(asked.some((name) => outside.includes(name))).toBe(false);
  });

  it('of which the list cannot be read is not taken', async () => {
    server.removeAllListeners('request');
    server.on('request', (_, response: http.ServerResponse) => response.end('<html>'));
    await expect(copyResults(folder, directory, new Map())).rejects.toThrow('cannot be read');
  });
});

describe('what is too large for a package', () => {
  it('is named with the way out', () => {
    const file = path.join(directory, 'model.safetensors');
    fs.writeFileSync(file, '');
    // No bytes of it are on the disk.
    fs.truncateSync(file, 2 * largestUpload);
    const entries = [{ name: 'model/model.safetensors', content: { file } }];
    expect(() => requireSmall(entries, 'The model', 'Name it.')).toThrow(
      'The model of 2.1 GB cannot go up with a Ray job, which takes 1.1 GB.',
    );
    fs.truncateSync(file, largestUpload);
    requireSmall(entries, 'The model', 'Name it.');
  });
});
