/**
 * Brings ggml's library for a kind of graphics card into the user's cache: a package of npm in the very version of ggml's own, known
 * by its hash, fetched by npm, tried in a process of its own and put in its place by one rename.
 */
import { existsSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { userError } from '../../protocol/errors.ts';
import { makeFolder } from '../system/files.ts';
import {
  packageVersion,
  gpuFolder,
  gpuLibraryBelow,
  gpuPackage,
  type BroughtKind,
  type GpuPackage,
} from '../ggml/packages.ts';
import { probeGpusOf, type Gpu } from './gpus.ts';
import {
  npmEnvironment,
  removeLeftovers,
  replaceFolder,
  requireTool,
  runGroup,
  type InstallProgress,
} from './installing.ts';

/**
 * Installs it, or replaces an installed one. Yields before each step and returns the cards that it finds.
 * @throws UserError `unsupported` or `device` naming what is missing or what failed; the signal's reason if aborted.
 */
export async function* installGpu(
  kind: BroughtKind,
  signal: AbortSignal,
): AsyncGenerator<InstallProgress, readonly Gpu[]> {
  const wanted = gpuPackage(kind);
  if (wanted === null)
    throw userError(
      'unsupported',
      `There is no library of ggml for ${kind} on ${process.platform} with ${process.arch}.`,
      process.platform === 'darwin' ? "A Mac's own is called metal, and needs nothing." : 'Use --device cpu.',
    );
  const npm = await requireTool('npm', ['--version'], 'npm', 'Install it; it comes with Node.', signal, 'Fetching it');
  const target = gpuFolder(kind);
  const folder = `${target}.building-${process.pid}`;
  removeLeftovers(target);
  makeFolder(folder);
  const total = 2;
  try {
    yield {
      detail: `${wanted.name} ${packageVersion}, ${wanted.packed} MB (${wanted.unpacked} MB on disk)`,
      done: 0,
      total,
    };
    writeFileSync(path.join(folder, 'package.json'), JSON.stringify(manifest(wanted)));
    writeFileSync(path.join(folder, 'package-lock.json'), JSON.stringify(lockFile(wanted)));
    const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund'];
    const environment = npmEnvironment(folder);
    await runGroup(`Fetching ${wanted.name}`, npm, args, { cwd: folder, environment, signal });
    const file = gpuLibraryBelow(folder, kind);
    if (file === null || !existsSync(file) || statSync(file).size === 0)
      throw userError('device', `${wanted.name} ${packageVersion} does not hold the library that it should.`);
    yield { detail: 'trying it', done: 1, total };
    const tried = await probeGpusOf(kind, file, signal);
    if ('problem' in tried)
      throw userError(
        'device',
        `${wanted.name} was fetched, but it does not work here: ${tried.problem}.`,
        driver[kind],
      );
    replaceFolder(folder, target);
    return tried.found;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const driver: Readonly<Record<BroughtKind, string>> = {
  vulkan: "Install your graphics card's driver, and on Linux libvulkan1.",
  cuda: "Install NVIDIA's driver and CUDA 13 (libcudart, libcublas).",
};

const manifest = ({ name }: GpuPackage): object => ({ private: true, dependencies: { [name]: packageVersion } });

/** npm refuses what has another hash. */
const lockFile = (wanted: GpuPackage): object => ({
  name: 'ggml',
  lockfileVersion: 3,
  requires: true,
  packages: {
    '': { dependencies: { [wanted.name]: packageVersion } },
    [`node_modules/${wanted.name}`]: { version: packageVersion, integrity: wanted.integrity },
  },
});
