/** What is missing is said before any work is done, and how to get it. */
import * as fs from 'node:fs';
import * as http from 'node:http';
import type { AddressInfo } from 'node:net';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { UserError } from '../../../protocol/errors.ts';
import { readHandle } from '../../../backend/cluster/handle.ts';
import { isStarted, startJob } from '../../../backend/cluster/launch.ts';
import { countGpus, findPython, pythonPath } from '../../../backend/cluster/python.ts';
import { programPath } from '../../../backend/devices/programs.ts';
import { rayJobEnd, submitRayJob } from '../../../backend/cluster/ray.ts';
import { temporaryFolder } from '../formats/fixtures.ts';

const signal = new AbortController().signal;

async function failure(work: Promise<unknown>): Promise<UserError> {
  const error: unknown = await work.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (!(error instanceof UserError)) throw new Error(`no UserError: ${String(error)}`);
  return error;
}

describe.skipIf(process.platform === 'win32')('Python', () => {
  let folder: string;
  const before = process.env['EARLY_EXIT_PYTHON'];
  beforeEach(() => (folder = fs.mkdtempSync(path.join(os.tmpdir(), 'python-'))));
  afterEach(() => {
    fs.rmSync(folder, { recursive: true, force: true });
    if (before === undefined) delete process.env['EARLY_EXIT_PYTHON'];
    else process.env['EARLY_EXIT_PYTHON'] = before;
  });
  const python = (script: string): string => {
    const file = path.join(folder, 'python');
    fs.writeFileSync(file, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    return (process.env['EARLY_EXIT_PYTHON'] = file);
  };

  it('that is not there, or does not start, is named', async () => {
    process.env['EARLY_EXIT_PYTHON'] = path.join(folder, 'nowhere');
    const absent = await failure(findPython(signal));
    expect(absent.message).toBe(`EARLY_EXIT_PYTHON is ${folder}/nowhere, which cannot be started.`);
    expect(absent.wayOut).toContain("pip install 'torch>=2.8' 'transformers>=5.0' 'safetensors>=0.5' 'numpy'");
    const file = python('exit 3');
    expect((await failure(findPython(signal))).message).toBe(`${file} cannot be started.`);
  });

  it('without packages says which', async () => {
    const file = python('echo torch safetensors');
    const { code, message, wayOut } = await failure(findPython(signal));
    expect({ code, message }).toEqual({ code: 'not-found', message: `${file} has no torch, no safetensors.` });
    expect(wayOut).toContain('pip install');
  });

  const real = programPath('python3');
  it.skipIf(!real)('has the packages of PYTHONPATH, as the ranks do, and none of the current folder', async () => {
    const packages = path.join(folder, 'packages');
    for (const name of ['torch', 'transformers', 'safetensors', 'numpy'])
      fs.mkdirSync(path.join(packages, name), { recursive: true });
    for (const name of ['transformers', 'safetensors', 'numpy'])
      fs.writeFileSync(path.join(packages, name, '__init__.py'), '');
    fs.writeFileSync(
      path.join(packages, 'torch/__init__.py'),
      'class cuda:\n  device_count = staticmethod(lambda: 3)\n',
    );
    // Without what is installed here.
    const file = python(`cd '${packages}' && exec '${real}' -S -s "$@"`);
    const before = process.env['PYTHONPATH'];
    try {
      delete process.env['PYTHONPATH'];
      const { message } = await failure(findPython(signal));
      expect(message).toMatch(/has no torch/);
      process.env['PYTHONPATH'] = packages;
      expect(await findPython(signal)).toBe(file);
      expect(await countGpus(file, signal)).toBe(3);
      const install = (name: string, version: string): void => {
        const about = path.join(packages, `${name}.dist-info`);
        fs.mkdirSync(about, { recursive: true });
        fs.writeFileSync(path.join(about, 'METADATA'), `Name: ${name}\nVersion: ${version}\n`);
      };
      install('torch', '2.10.0+cu128');
      install('transformers', '4.57.1');
      expect((await failure(findPython(signal))).message).toBe(`${file} has no transformers>=5.0.`);
      install('transformers', '5.0.0');
      expect(await findPython(signal)).toBe(file);
    } finally {
      if (before === undefined) delete process.env['PYTHONPATH'];
      else process.env['PYTHONPATH'] = before;
    }
  });

  it('with all of them is taken', async () => {
    const file = python('echo');
    expect(await findPython(signal)).toBe(file);
  });
});

describe('a folder of packages', () => {
  it('comes before those that are there', () => {
    expect(pythonPath('/run', {})).toBe('/run');
    expect(pythonPath('/run', { PYTHONPATH: '' })).toBe('/run');
    expect(pythonPath('/run', { PYTHONPATH: '/opt/torch' })).toBe(`/run${path.delimiter}/opt/torch`);
  });
});

describe('a Ray cluster', () => {
  it('that does not answer, refuses, wants a token or is none is named', async () => {
    const closed = await failure(submitRayJob('http://127.0.0.1:9', 'raysubmit_1', 'm', [], {}));
    expect(closed.message).toBe('The Ray cluster at http://127.0.0.1:9 does not answer.');
    const requests: { url: string; body: string; token: string | undefined }[] = [];
    let [status, text] = [200, '{"submission_id": "raysubmit_1"}'];
    const server = http.createServer((request, response) => {
      let body = '';
      request.on('data', (piece: Buffer) => (body += piece.toString()));
      request.on('end', () => {
        requests.push({ url: request.url!, body, token: request.headers.authorization });
        response.writeHead(status).end(text);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    process.env['RAY_AUTH_TOKEN'] = 'secret';
    try {
      await submitRayJob(url, 'raysubmit_1', 'early_exit_distributed.on_ray', ["/runs/it's", '2'], {});
      const { entrypoint, submission_id } = JSON.parse(requests[0]!.body) as Record<string, string>;
      expect(submission_id).toBe('raysubmit_1');
      expect(requests[0]).toMatchObject({ url: '/api/jobs/', token: 'Bearer secret' });
      expect(entrypoint).toBe(`python -m early_exit_distributed.on_ray '/runs/it'\\''s' '2'`);

      text = '{"status": "RUNNING", "message": null}';
      expect(await rayJobEnd(url, 'raysubmit_1')).toBeNull();
      text = JSON.stringify({ status: 'FAILED', message: 'failed with exit code 1\n  at x\nValueError: no GPU.\n' });
      const end = 'The Ray job raysubmit_1 ended before its run did: ValueError: no GPU.';
      expect(await rayJobEnd(url, 'raysubmit_1')).toBe(end);
      text = '{"status": "FAILED", "message": "no GPU\\nand more"}';
      expect(await rayJobEnd(url, 'raysubmit_1')).toBe('The Ray job raysubmit_1 ended before its run did: no GPU.');
      text = '<html>';
      expect((await failure(rayJobEnd(url, 'x'))).message).toBe(`What ${url} answers is not Ray's.`);
      status = 404;
      expect(await rayJobEnd(url, 'x')).toBe(`The Ray cluster at ${url} does not know the job x any more.`);
      status = 401;
      expect((await failure(rayJobEnd(url, 'x'))).wayOut).toBe('Put it into RAY_AUTH_TOKEN.');
      [status, text] = [500, 'Traceback:\n  at x\nValueError: no.\n'];
      expect((await failure(rayJobEnd(url, 'x'))).message).toBe(
        `The Ray cluster at ${url} refused: HTTP 500, ValueError: no.`,
      );
    } finally {
      delete process.env['RAY_AUTH_TOKEN'];
      server.close();
    }
  });

  it('that does not answer in time has its job found again, unless it says that there is none', async () => {
    const folder = temporaryFolder();
    fs.mkdirSync(path.join(folder, 'distributed'));
    const submitted: string[] = [];
    let [status, text] = [200, '{"status": "RUNNING"}'];
    const server = http.createServer((request, response) => {
      let body = '';
      request.on('data', (piece: Buffer) => (body += piece.toString()));
      request.on('end', () => {
        if (request.method === 'POST') submitted.push((JSON.parse(body) as { submission_id: string }).submission_id);
        if (request.method === 'POST' || status === 0) request.socket.destroy();
        else response.writeHead(status).end(text);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const mesh = { pp: 1, dp: 2, tp: 1, shard: false };
    const start = () => startJob(folder, { place: { kind: 'ray', url }, mesh, gpusOfNode: null }, signal);
    const handle = { kind: 'ray', url, id: expect.any(String) as string };
    expect(await start()).toEqual(handle);
    expect(readHandle(path.join(folder, 'distributed'))).toEqual({ ...handle, id: submitted[0] });
    [status, text] = [404, 'no such job'];
    await expect(start()).rejects.toThrow(`The Ray cluster at ${url} does not answer.`);
    expect(isStarted(folder)).toBe(false);
    status = 0;
    await expect(start()).rejects.toThrow(`The Ray cluster at ${url} does not answer.`);
    expect(readHandle(path.join(folder, 'distributed'))).toEqual({ ...handle, id: submitted[2] });
    expect(new Set(submitted).size).toBe(3);
  });
});
