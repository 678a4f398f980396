/** Finds out about the machines on which the ranks of a run will be: how many ranks, and where they find the model. */
import path from 'node:path';
import { UserError, userError } from '../../../protocol/errors.ts';
import { ranksOf, type Mesh } from '../../../protocol/options/place.ts';
import type { TuneOptions } from '../../../protocol/options/options.ts';
import { plural } from '../../../protocol/plural.ts';
import { jobFolder } from '../../checkpoint/checkpoint.ts';
import { packageName } from '../../cluster/job.ts';
import { sampleFiles, type FileSample } from '../../cluster/model-files.ts';
import { chooseEvenMesh, requireRunnable, type Hosts } from '../../cluster/plan.ts';
import { countGpus, findPython } from '../../cluster/python.ts';
import { lookAtRay } from '../../cluster/ray-look.ts';
import { countSlurmGpus } from '../../cluster/slurm.ts';
import type { Model } from '../../model/open.ts';
import { packageRoot } from '../installation.ts';
import { plannedRun } from '../plan.ts';

export interface Remote {
  readonly mesh: Mesh;
  /** Why there is a single rank (a host) although the user did not choose that, or why none has a GPU; null if there is no reason to report. */
  readonly note: string | null;
  /** GPUs of a node of Slurm; null if that is not known, or ranks run elsewhere. */
  readonly gpusOfNode: number | null;
  readonly model: { readonly model: string; readonly files: Readonly<Record<string, FileSample>> };
}

/** The folder of the Python package's sources. */
export const sourcesFolder = (): string => path.join(packageRoot(), jobFolder, packageName);

/** @throws UserError if ranks could not run there, or would not find the model. */
export async function inspectRemote(
  options: TuneOptions,
  model: Model,
  directory: string,
  signal: AbortSignal,
): Promise<Remote> {
  const files = sampleFiles(model.files);
  const own = { model: options.modelThere ?? path.resolve(model.path), files };
  const { on } = options;
  switch (on.kind) {
    case 'here':
      throw new Error('a run that is tuned here has no ranks elsewhere');
    case 'torchrun': {
      const hosts = Math.max(1, on.hosts.length);
      const isElsewhere = on.hosts.length > 0;
      const gpus = isElsewhere && options.mesh.mesh !== null ? 0 : await gpusHere(isElsewhere, signal);
      const note = `One rank${isElsewhere ? ' a host' : ''}: PyTorch sees no GPU here. Name more with --mesh.`;
      return { ...meshFor(options, gpus * hosts, note, { count: hosts, gpus }), gpusOfNode: null, model: own };
    }
    case 'slurm': {
      const gpus = await countSlurmGpus(signal);
      const note =
        gpus === null
          ? 'One rank: there is no sinfo here to say which GPUs Slurm has. Name more with --mesh.'
          : 'One rank: sinfo names no GPU. Name more ranks with --mesh.';
      return { ...meshFor(options, gpus ?? 0, note), gpusOfNode: gpus, model: own };
    }
    case 'ray': {
      const looked = await lookAtRay(on.url, directory, { path: model.path, files }, sourcesFolder(), signal);
      if (!looked.shares)
        throw userError(
          'unsupported',
          `Not every node of the Ray cluster at ${on.url} can read ${path.resolve(directory)}, where the run would be.`,
          'Name a folder that all nodes have under this path (--out), on NFS or a bucket that each mounts.',
        );
      if (!looked.model && options.modelThere === null)
        throw userError(
          'unsupported',
          `${model.name} is not on the Ray cluster under ${path.resolve(model.path)}.`,
          'Put it there, or name it as the cluster finds it with --model-there: a folder, or a name on the Hugging Face hub.',
        );
      const chosen = meshFor(options, looked.gpus, 'One rank: the Ray cluster has no GPU. Name more with --mesh.');
      const note = chosen.note ?? tooFewGpus(looked.gpus, ranksOf(chosen.mesh));
      return { ...chosen, note, gpusOfNode: null, model: own };
    }
  }
}

/** Why no rank of a Ray job gets a GPU although there are some; see on_ray.py. */
const tooFewGpus = (gpus: number, ranks: number): string | null =>
  gpus === 0 || gpus >= ranks
    ? null
    : `The Ray cluster has ${plural(gpus, 'GPU')} for ${ranks} ranks, so that all of them run on CPUs. Name at most ${plural(gpus, 'rank')} with --mesh.`;

/** GPUs that PyTorch sees on this machine. `mayLack`: ranks are on other machines, which have a Python of their own. */
async function gpusHere(mayLack: boolean, signal: AbortSignal): Promise<number> {
  try {
    return await countGpus(await findPython(signal), signal);
  } catch (error) {
    if (mayLack && error instanceof UserError && error.code === 'not-found') return 0;
    throw error;
  }
}

/**
 * The mesh that is named; else one of these GPUs, as a plan would divide them.
 * @throws UserError for a mesh on which nothing could run, before there is any work.
 */
function meshFor(options: TuneOptions, gpus: number, note: string, hosts?: Hosts): Pick<Remote, 'mesh' | 'note'> {
  const run = plannedRun(options);
  const named = options.mesh.mesh;
  const mesh = named ?? chooseEvenMesh(run, gpus, hosts?.count);
  requireRunnable(run, mesh, hosts);
  return { mesh, note: named !== null || gpus > 0 ? null : note };
}
