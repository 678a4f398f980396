/**
 * A run as a job of Ray: started, followed and copied back. If the cluster does not see the run's folder, each of its nodes has one of its
 * own (`distributed/early_exit_distributed/on_ray.py`), and files there are read over Ray's interface.
 */
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import type { ZipEntry } from '../formats/zip.ts';
import { copyResults, sendFiles, sendSources } from './carry.ts';
import { newLinesIn, once, type RunningJob } from './follow.ts';
import { carriedPrefix, type RayHandle } from './handle.ts';
import { packageName } from './job.ts';
import { isAbsent, rayJobEnd, rayJobLog, readSessionFile, submitRayJob, type SessionFile } from './ray.ts';

const module = `${packageName}.on_ray`;
const endedMilliseconds = 1_000;

/**
 * Submits the job of a folder that all nodes see under the same path, or with the files that they need from it.
 * @throws UserError `network` if the cluster does not answer or refuses.
 */
export async function startRayJob(
  url: string,
  folder: string,
  ranks: number,
  files: readonly ZipEntry[] | null,
  signal: AbortSignal,
): Promise<RayHandle> {
  if (files === null) {
    const words = [path.dirname(folder), String(ranks)];
    const id = await submitRayJob(url, module, words, { env_vars: { PYTHONPATH: folder } });
    return { kind: 'ray', url, id, carried: null };
  }
  const carried = `${carriedPrefix}${randomBytes(8).toString('hex')}`;
  const sources = await sendSources(url, path.join(folder, packageName));
  const sent = await sendFiles(url, files, signal);
  const environment = { working_dir: sources, py_modules: sent };
  const id = await submitRayJob(url, module, ['--carried', carried, String(ranks)], environment);
  return { kind: 'ray', url, id, carried };
}

/** `lines`: reads the lines of the run's own folder, if that is shared. */
export function rayJob(directory: string, handle: RayHandle, lines: () => Promise<string>): RunningJob {
  const ended = once(endedMilliseconds, () => rayJobEnd(handle.url, handle.id));
  if (handle.carried === null) return { lines, ended, close: () => {}, bringBack: async () => true };
  const folderOf = placed(handle);
  const events = followed(async () => {
    const folder = await folderOf();
    return folder && { ...folder, name: `${folder.name}/distributed/events.jsonl` };
  });
  const have = new Map<string, string>();
  return {
    lines: () => events.lines(),
    ended: async () => {
      const end = await ended();
      if (end !== null) await events.readWhole();
      return end;
    },
    close: () => events.close(),
    bringBack: async (signal) => {
      const folder = await folderOf();
      return folder !== null && (await copyResults(folder, directory, have, signal));
    },
  };
}

/** What a run has left on the cluster's nodes goes, by a job of its own that is not waited for. */
export async function forgetRayJob(handle: RayHandle, sources: string): Promise<void> {
  if (handle.carried === null) return;
  try {
    const working_dir = await sendSources(handle.url, sources);
    await submitRayJob(handle.url, module, ['--forget', handle.carried], { working_dir });
  } catch {
    // Everything is here by now. There it takes some room until the cluster's session ends.
  }
}

/** The first rank's folder of the run: null until the job has reported it. */
function placed({ url, id, carried }: RayHandle): () => Promise<SessionFile | null> {
  let node: string | null = null;
  return async () => {
    try {
      node ??= /"type": "placed", "node": "([0-9a-f]+)"/.exec(await rayJobLog(url, id))?.[1] ?? null;
    } catch (error) {
      if (!isAbsent(error)) throw error;
    }
    return node === null ? null : { url, node, name: carried! };
  };
}

/** The new lines of a file elsewhere that grows. */
function followed(fileOf: () => Promise<SessionFile | null>): {
  lines(): Promise<string>;
  readWhole(): Promise<void>;
  close(): void;
} {
  let text = '';
  const newLines = newLinesIn();
  let reading: Promise<void> | null = null;
  const controller = new AbortController();
  const read = async (isGrowing: boolean): Promise<void> => {
    const decoder = new TextDecoder();
    let now = '';
    try {
      const file = await fileOf();
      if (file === null) return;
      for await (const piece of readSessionFile(file, isGrowing, controller.signal)) {
        now += decoder.decode(piece, { stream: true });
        // One that is read again after a break begins with what is known.
        if (now.length > text.length) text = now;
      }
    } catch {
      // The file does not exist yet, or the connection broke. The state of the job is queried separately, and the next call reads again.
    } finally {
      if (isGrowing) reading = null;
    }
  };
  return {
    lines: async () => {
      // The first call reads what exists already, since a failure is checked for before the job is followed.
      if (reading === null && text === '') await read(false);
      reading ??= read(true);
      return newLines(text);
    },
    readWhole: () => read(false),
    close: () => controller.abort(),
  };
}
