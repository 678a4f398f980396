/** A folder's description of its job is not trusted: only what is certainly ours is signalled, and only the user names a cluster. */
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import * as http from 'node:http';
import type { AddressInfo } from 'node:net';
import * as path from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { readHandle, writeHandle, type JobHandle } from '../../../backend/cluster/handle.ts';
import { findJob, requireNoJob, runningJob, stopJob } from '../../../backend/cluster/launch.ts';
import { identityOf, type ProcessIdentity } from '../../../backend/system/processes.ts';
import { describeError } from '../../../protocol/errors.ts';
import type { Place } from '../../../protocol/options/place.ts';
import { caught, temporaryFolder } from '../formats/fixtures.ts';
import { finished } from './reports.ts';

const torchrun: Place = { kind: 'torchrun', hosts: [] };
const ray = { kind: 'ray', url: 'http://127.0.0.1:9', id: 'raysubmit_x' } as const;

/** A run's folder with a job in it. */
function runFolder(running?: string): { directory: string; folder: string } {
  const directory = temporaryFolder();
  const folder = path.join(directory, 'distributed');
  fs.mkdirSync(folder);
  if (running !== undefined) fs.writeFileSync(path.join(folder, 'running.json'), running);
  return { directory, folder };
}

/** A process of the test's own, in a group of its own, that does nothing. */
function bystander(): number {
  const child = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60_000)'], { detached: true, stdio: 'ignore' });
  onTestFinished(() => void child.kill('SIGKILL'));
  return child.pid!;
}

/** What stopping a job would have signalled. */
async function signalled(handle: JobHandle): Promise<[number, string][]> {
  const { directory } = runFolder();
  const sent: [number, string][] = [];
  await stopJob(directory, handle, false, (group, signal) => void sent.push([group, signal]));
  return sent;
}

describe('a handle', () => {
  it('comes back as it was written', () => {
    const { folder } = runFolder();
    expect(readHandle(folder)).toBeNull();
    for (const handle of [
      { kind: 'processes', processes: [identityOf(process.pid)] },
      { kind: 'processes', processes: [], host: 'login1' },
      ray,
      { kind: 'slurm' },
    ] as const) {
      writeHandle(folder, handle);
      expect(readHandle(folder)).toEqual(handle);
    }
  });

  it.each([
    ['null', 'must be an object, but is null'],
    ['[]', 'must be an object, but is an empty list'],
    ['{"kind":', 'is not JSON'],
    ['{}', 'kind must be one of processes, ray, slurm, but is missing'],
    ['{"kind":"toString"}', 'kind must be one of processes, ray, slurm, but is "toString"'],
    ['{"kind":"processes","pids":[4711]}', 'processes must be a list, but is missing'],
    ['{"kind":"processes","processes":[null]}', 'processes[0] must be an object, but is null'],
    ...['1', '0', '-1', '1.5', '1e300', '"17"', 'null'].map((pid) => [
      `{"kind":"processes","processes":[{"pid":${pid},"started":null}]}`,
      'processes[0].pid must be',
    ]),
    ['{"kind":"ray","url":"file:///etc","id":"x"}', 'url must be the address of a Ray cluster'],
    ['{"kind":"ray","url":"http://a:1@b","id":"x"}', 'url must be the address of a Ray cluster'],
    ['{"kind":"ray","url":"http://a","id":7}', 'id must be'],
  ])('that is %s is refused with a sentence', async (text, why) => {
    const { directory, folder } = runFolder(text);
    const error = caught(() => readHandle(folder));
    expect(error.code).toBe('bad-data');
    expect(describeError(error)).toContain(`running.json`);
    expect(describeError(error)).toContain(why);
    expect(error.wayOut).toMatch(/remove it, and go on with --resume/);
    await expect(findJob(directory, torchrun, new AbortController().signal).next()).rejects.toThrow(error.message);
  });
});

describe.skipIf(process.platform === 'win32')('stopping a job', () => {
  it('signals the group of a process that it started', async () => {
    const pid = bystander();
    expect(await signalled({ kind: 'processes', processes: [identityOf(pid)] })).toEqual([
      [-pid, 'SIGTERM'],
      [-pid, 'SIGKILL'],
    ]);
  }, 10_000);

  it('signals no process that may be another one', async () => {
    const pid = bystander();
    const { started } = identityOf(pid);
    for (const process of [
      { pid, started: null },
      { pid, started: 'another boot 17' },
      { pid, started: `${started}0` },
      { pid: 1, started: identityOf(1).started },
    ])
      expect(await signalled({ kind: 'processes', processes: [process] })).toEqual([]);
  });

  it('writes no file elsewhere by a link', async () => {
    const { directory, folder } = runFolder();
    const elsewhere = path.join(directory, 'mine');
    fs.writeFileSync(elsewhere, 'precious');
    fs.symlinkSync(elsewhere, path.join(folder, 'stop'));
    await stopJob(directory, { kind: 'slurm' }, true);
    expect(fs.readFileSync(elsewhere, 'utf8')).toBe('precious');
  });

  it('takes a process that is another one by now for one that has ended', async () => {
    const { directory } = runFolder();
    const processes = [{ pid: bystander(), started: 'another boot 17' }];
    expect(await runningJob(directory, { kind: 'processes', processes }).ended()).toMatch(/ended without a word/);
  });
});

describe('a job that may be under way', () => {
  const running = (): { kind: 'processes'; processes: ProcessIdentity[] } => ({
    kind: 'processes',
    processes: [identityOf(bystander())],
  });
  const folderOfJob = (handle: JobHandle, reports: readonly string[] = []): string => {
    const { directory, folder } = runFolder(JSON.stringify(handle));
    fs.writeFileSync(path.join(folder, 'events.jsonl'), reports.map((line) => `${line}\n`).join(''));
    return directory;
  };
  const dead = { kind: 'processes', processes: [{ pid: 4711, started: 'another boot 17' }] } as const;

  it('lets nothing else write into its folder, and says how to follow it', async () => {
    for (const [handle, place] of [
      [running(), 'torchrun'],
      [ray, 'ray:http://127.0.0.1:9'],
      [{ kind: 'slurm' }, 'slurm'],
    ] as const) {
      const directory = folderOfJob(handle);
      const error: unknown = await requireNoJob(directory).catch((reason: unknown) => reason);
      expect(describeError(error)).toBe(
        `A job of PyTorch is under way in ${directory}. Follow it with --resume --on ${place}. ` +
          `If it is certainly over, remove ${path.join(directory, 'distributed')}.`,
      );
    }
  });

  it('does so no more once it has reported its end, or its processes are over', async () => {
    for (const handle of [running(), ray, { kind: 'slurm' }] as const)
      for (const report of [finished(true), '{"type":"failed","message":"no"}'])
        await requireNoJob(folderOfJob(handle, [report]));
    await requireNoJob(folderOfJob(dead));
    await requireNoJob(temporaryFolder());
  });

  it('on another machine that shares the folder is followed from there, until it has reported its end', async () => {
    const handle = { ...dead, host: 'login1' };
    const find = (directory: string) => findJob(directory, torchrun, new AbortController().signal).next();
    const directory = folderOfJob(handle);
    const message = `The job in ${directory} was started on login1.`;
    await expect(find(directory)).rejects.toThrow(message);
    await expect(requireNoJob(directory)).rejects.toThrow(message);
    expect(await find(folderOfJob(handle, [finished(false)]))).toEqual({ done: true, value: handle });
    // A machine that is called something else by now.
    const renamed = { ...running(), host: 'login1' };
    expect(await find(folderOfJob(renamed))).toEqual({ done: true, value: renamed });
  });
});

describe('a cluster', () => {
  it('that only the folder names is not asked', async () => {
    let requests = 0;
    const server = http.createServer((_, response) => {
      requests++;
      response.end('{}');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const { directory } = runFolder(JSON.stringify({ ...ray, url }));
    const signal = new AbortController().signal;
    for (const place of [torchrun, { kind: 'ray', url: 'http://other' }] as const)
      await expect(findJob(directory, place, signal).next()).rejects.toThrow(
        `The job in ${directory} runs on the Ray cluster at ${url}.`,
      );
    expect(requests).toBe(0);
  });
});
