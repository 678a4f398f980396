/** What a cluster says that it has decides how many ranks there are, and whether a run can be there at all. Stand-ins for Ray's interface and Slurm's `sinfo`. */
import * as fs from 'node:fs';
import * as http from 'node:http';
import type { AddressInfo } from 'node:net';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { describeError, type UserError } from '../../../protocol/errors.ts';
import { meshText } from '../../../protocol/options/place.ts';
import { parseOptions } from '../../../protocol/options/options.ts';
import { openModel } from '../../../backend/model/open.ts';
import { inspectRemote, type Remote } from '../../../backend/recipes/training/remote.ts';
import { fixtures } from '../../support/golden.ts';

const tiny = path.join(fixtures, 'tiny/llama-untied');
const signal = new AbortController().signal;
let root: string;
let server: http.Server | null;
const pathBefore = process.env['PATH'];

beforeEach(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), 'there-'));
  server = null;
});
afterEach(() => {
  server?.close();
  process.env['PATH'] = pathBefore;
  fs.rmSync(root, { recursive: true, force: true });
});

async function remoteOf(options: Record<string, unknown>): Promise<Remote> {
  const model = openModel(tiny);
  try {
    return await inspectRemote(parseOptions('tune', { model: tiny, batchSize: 8, ...options }), model, root, signal);
  } finally {
    model.close();
  }
}

/** A cluster that says it has seen this. */
async function ray(seen: Record<string, unknown>): Promise<string> {
  server = http.createServer((request, response) => {
    const answers: readonly (readonly [RegExp, unknown])[] = [
      [/^\/api\/packages\//, {}],
      [/\/logs$/, { logs: `${JSON.stringify(seen).replaceAll(':', ': ')}\n` }],
      [/^\/api\/jobs\/$/, { submission_id: 'look' }],
      [/^\/api\/jobs\/[\w-]+$/, { status: 'SUCCEEDED', message: null }],
    ];
    request.resume().on('end', () => {
      response.end(JSON.stringify(answers.find(([route]) => route.test(request.url!))?.[1]));
    });
  });
  await new Promise<void>((resolve) => server!.listen(0, '127.0.0.1', resolve));
  return `ray:http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
const looked = { type: 'looked', gpus: 4, shares: true, model: true, missing: [] };

describe('a Ray cluster', () => {
  it('that sees the folder and the model gets a rank for each of its GPUs, and nothing else', async () => {
    const { mesh, note, model } = await remoteOf({ on: await ray(looked) });
    expect([meshText(mesh), note, model.model]).toEqual(['pp=1,dp=4,tp=1', null, tiny]);
    expect(Object.keys(model.files)).toEqual(['model.safetensors']);
  });

  it('without GPUs gets one rank with the reason, unless a mesh is named', async () => {
    const on = await ray({ ...looked, gpus: 0 });
    const one = await remoteOf({ on });
    expect(meshText(one.mesh)).toBe('pp=1,dp=1,tp=1');
    expect(one.note).toBe('One rank: the Ray cluster has no GPU. Name more with --mesh.');
    const named = await remoteOf({ on, mesh: 'dp=2' });
    expect([meshText(named.mesh), named.note]).toEqual(['pp=1,dp=2,tp=1', null]);
  });

  it('with fewer GPUs than ranks says that none of them gets one', async () => {
    const { note } = await remoteOf({ on: await ray({ ...looked, gpus: 1 }), mesh: 'dp=2' });
    expect(note).toBe(
      'The Ray cluster has 1 GPU for 2 ranks, so that all of them run on CPUs. Name at most 1 rank with --mesh.',
    );
    expect((await remoteOf({ on: await ray(looked), mesh: 'dp=4' })).note).toBeNull();
  });

  it('that does not see the folder is refused with where to put it', async () => {
    const error = await remoteOf({ on: await ray({ ...looked, shares: false }) }).catch(
      (one: unknown) => one as UserError,
    );
    expect(describeError(error)).toMatch(
      new RegExp(`^Not every node of the Ray cluster at .* can read ${root}, .*Name a folder that all nodes have`),
    );
  });

  it('that has not the model is refused, unless a name for it there is given', async () => {
    const on = await ray({ ...looked, model: false });
    await expect(remoteOf({ on })).rejects.toThrow(/^.* is not on the Ray cluster under .*llama-untied\.$/);
    const named = await remoteOf({ on, modelThere: 'someone/model' });
    expect(named.model.model).toBe('someone/model');
  });

  it('without PyTorch says what to install', async () => {
    const on = await ray({ ...looked, missing: ['torch', 'transformers'] });
    await expect(remoteOf({ on })).rejects.toThrow(
      /^The Python of the Ray cluster at .* has no torch, no transformers\.$/,
    );
  });
});

describe.skipIf(process.platform === 'win32')('Slurm', () => {
  const sinfo = (script: string): void => {
    fs.writeFileSync(path.join(root, 'sinfo'), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    process.env['PATH'] = `${root}${path.delimiter}${pathBefore}`;
  };

  it('gets a rank for each GPU of the node that has most', async () => {
    sinfo(`printf '%s\\n' '(null)' 'gpu:a100:4(S:0-1)' 'shard:64,gpu:8(S:0-1)' 'gpu:2'`);
    const { mesh, note } = await remoteOf({ on: 'slurm' });
    expect([meshText(mesh), note]).toEqual(['pp=1,dp=8,tp=1', null]);
  });

  it('without a known GPU gets one rank with the reason', async () => {
    sinfo(`echo '(null)'`);
    const none = await remoteOf({ on: 'slurm' });
    expect([meshText(none.mesh), none.note]).toEqual([
      'pp=1,dp=1,tp=1',
      'One rank: sinfo names no GPU. Name more ranks with --mesh.',
    ]);
    process.env['PATH'] = root;
    fs.rmSync(path.join(root, 'sinfo'));
    expect((await remoteOf({ on: 'slurm' })).note).toBe(
      'One rank: there is no sinfo here to say which GPUs Slurm has. Name more with --mesh.',
    );
  });
});

describe.skipIf(process.platform === 'win32')('torchrun', () => {
  const before = process.env['EARLY_EXIT_PYTHON'];
  afterEach(() => {
    if (before === undefined) delete process.env['EARLY_EXIT_PYTHON'];
    else process.env['EARLY_EXIT_PYTHON'] = before;
  });
  /** A Python whose PyTorch sees these GPUs; null: there is none. */
  const gpusHere = (gpus: number | null): void => {
    const file = path.join(root, 'python');
    process.env['EARLY_EXIT_PYTHON'] = file;
    const script = `case "$2" in *device_count*) echo ${gpus};; esac`;
    if (gpus !== null) fs.writeFileSync(file, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  };

  it('on hosts needs no PyTorch here if the mesh is named, and gets a rank on each if nothing says more', async () => {
    gpusHere(null);
    const named = await remoteOf({ on: 'torchrun:a,b', mesh: 'dp=4' });
    expect([meshText(named.mesh), named.note]).toEqual(['pp=1,dp=4,tp=1', null]);
    const least = await remoteOf({ on: 'torchrun:a,b' });
    expect([meshText(least.mesh), least.note]).toEqual([
      'pp=1,dp=2,tp=1',
      'One rank a host: PyTorch sees no GPU here. Name more with --mesh.',
    ]);
    await expect(remoteOf({ on: 'torchrun', mesh: 'dp=4' })).rejects.toThrow(/cannot be started/);
  });

  it('gets as many ranks on each host as there are GPUs here, and no more', async () => {
    gpusHere(3);
    expect(meshText((await remoteOf({ on: 'torchrun:a,b', batchSize: 6 })).mesh)).toBe('pp=1,dp=6,tp=1');
    // Four windows are shared evenly by neither six replicas nor three.
    expect(meshText((await remoteOf({ on: 'torchrun:a,b', batchSize: 4 })).mesh)).toBe('pp=3,dp=2,tp=1');
    await expect(remoteOf({ on: 'torchrun', mesh: 'dp=4' })).rejects.toThrow(
      '--mesh pp=1,dp=4,tp=1 cannot be used: PyTorch sees 3 GPUs for 4 ranks.',
    );
    await expect(remoteOf({ on: 'torchrun:a,b,c', mesh: 'dp=4' })).rejects.toThrow(
      '4 ranks cannot be shared evenly among 3 hosts',
    );
  });
});
