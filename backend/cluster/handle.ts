/** The file by which a job is found again. It lies in the run's folder, which others may have written. Parsed here, trusted inside. */
import { rmSync } from 'node:fs';
import path from 'node:path';
import { describeError, userError } from '../../protocol/errors.ts';
import { parsePlace } from '../../protocol/options/place.ts';
import { list, oneOf, readMessage, record, simple, text, type Shape } from '../../protocol/shapes.ts';
import { openRangeFile, statOf, writeFileAtomically } from '../system/files.ts';
import { processShape, type ProcessIdentity } from '../system/processes.ts';

export interface ProcessesHandle {
  readonly kind: 'processes';
  /** Launchers that were started on this machine, each at the head of a process group. */
  readonly processes: readonly ProcessIdentity[];
  /** The name of that machine; earlier versions did not write it. */
  readonly host?: string;
}

export interface RayHandle {
  readonly kind: 'ray';
  readonly url: string;
  readonly id: string;
}

export type JobHandle = ProcessesHandle | RayHandle | { readonly kind: 'slurm' };

const isRayUrl = (value: unknown): value is string => {
  const place = typeof value === 'string' ? parsePlace(`ray:${value}`) : null;
  return place?.kind === 'ray' && place.url === value;
};

const launcher: Shape<ProcessIdentity> = {
  read: (value, place) => {
    const process = processShape.read(value, place);
    anyOther.read(process.pid, { within: place, name: 'pid' });
    return process;
  },
};
const anyOther = simple('above 1', (pid): pid is number => (pid as number) > 1);

const shapes: { readonly [Kind in JobHandle['kind']]: Shape<Extract<JobHandle, { readonly kind: Kind }>> } = {
  processes: record({ kind: oneOf('processes'), processes: list(launcher) }, { host: text }),
  ray: record({ kind: oneOf('ray'), url: simple('the address of a Ray cluster', isRayUrl), id: text }),
  slurm: record({ kind: oneOf('slurm') }),
};

const kindShape = record({ kind: oneOf('processes', 'ray', 'slurm') });

const handleFile = 'running.json';
const handlePath = (folder: string): string => path.join(folder, handleFile);
/** Bytes; a launcher a host is more than there are. */
const largestHandle = 2 ** 20;

/** `folder`: the job's own. */
export const writeHandle = (folder: string, handle: JobHandle): void =>
  writeFileAtomically(handlePath(folder), [`${JSON.stringify(handle)}\n`]);

export const hasHandle = (folder: string): boolean => statOf(handlePath(folder)) !== null;

export const removeHandle = (folder: string): void => rmSync(handlePath(folder), { force: true });

/**
 * Null if no job was started.
 * @throws UserError `bad-data` if this version cannot follow what the file names.
 */
export function readHandle(folder: string): JobHandle | null {
  if (!hasHandle(folder)) return null;
  const file = handlePath(folder);
  try {
    const value: unknown = JSON.parse(textOf(file));
    return readMessage<JobHandle>(file, shapes[readMessage(file, kindShape, value).kind], value);
  } catch (cause) {
    throw userError(
      'bad-data',
      cause instanceof SyntaxError ? `${file} is not JSON.` : describeError(cause),
      'It says which job runs there: see that none does, remove it, and go on with --resume.',
      cause,
    );
  }
}

function textOf(file: string): string {
  const opened = openRangeFile(file);
  try {
    return Buffer.from(opened.read(0, Math.min(opened.size, largestHandle))).toString();
  } finally {
    opened.close();
  }
}
