/**
 * Finds out what a Ray cluster has and sees, by a small job before anything is prepared for it: see
 * `distributed/early_exit_distributed/look_on_ray.py`.
 */
import { randomBytes } from 'node:crypto';
import { readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { userError } from '../../protocol/errors.ts';
import { flag, list, number, readMessage, record, text, type TypeOf } from '../../protocol/shapes.ts';
import { writeFileAtomically } from '../system/files.ts';
import { zip } from '../formats/zip.ts';
import { packageName } from './job.ts';
import type { FileSample } from './model-files.ts';
import { newRayJobId, rayJobEnd, rayJobLog, sendRayPackage, stopRayJob, submitRayJob } from './ray.ts';

export interface RayCluster {
  readonly gpus: number;
  /** Whether all nodes see the run's folder under its path. */
  readonly shares: boolean;
  /** Whether they see the model under its path, and it is this one. */
  readonly model: boolean;
}

const pollMilliseconds = 300;

/** @throws UserError `network` if the cluster does not answer, `not-found` if none of its nodes has PyTorch. */
export async function lookAtRay(
  url: string,
  directory: string,
  model: { readonly path: string; readonly files: Readonly<Record<string, FileSample>> },
  sources: string,
  signal: AbortSignal,
): Promise<RayCluster> {
  const mark = randomBytes(16).toString('hex');
  const file = path.join(path.resolve(directory), `.look-${mark}.tmp`);
  writeFileAtomically(file, [mark]);
  try {
    const question = JSON.stringify({ file, text: mark, model: path.resolve(model.path), files: model.files });
    const working_dir = await sendSources(url, sources);
    const id = newRayJobId();
    await submitRayJob(url, id, `${packageName}.look_on_ray`, [question], { working_dir });
    let end: string | null = null;
    while (end === null) {
      if (signal.aborted) await stopRayJob(url, id);
      signal.throwIfAborted();
      await setTimeout(pollMilliseconds);
      end = await rayJobEnd(url, id, 'it had looked at the cluster');
    }
    const seen = readSeen(await rayJobLog(url, id));
    if (seen === null) throw userError('device', end);
    const { missing, ...cluster } = seen;
    if (missing.length > 0)
      throw userError(
        'not-found',
        `The Python of the Ray cluster at ${url} has no ${missing.join(', no ')}.`,
        `Install ${missing.join(', ')} on its nodes.`,
      );
    return cluster;
  } finally {
    rmSync(file, { force: true });
  }
}

/** Sends the Python package alone: nothing of the run is there yet. */
function sendSources(url: string, sources: string): Promise<string> {
  const names = readdirSync(sources).filter((name) => name.endsWith('.py'));
  const entries = names.map((name) => ({
    name: `${packageName}/${name}`,
    content: { file: path.join(sources, name) },
  }));
  return sendRayPackage(url, Buffer.concat([...zip(entries)]));
}

const seenShape = record({ gpus: number, shares: flag, model: flag, missing: list(text) });

/** Null if the job has not reported what it saw. */
function readSeen(log: string): TypeOf<typeof seenShape> | null {
  const [line] = /\{"type": "looked"[^\n]*?\]\}/.exec(log) ?? [];
  if (line === undefined) return null;
  try {
    return readMessage('looked', seenShape, JSON.parse(line));
  } catch {
    return null;
  }
}
