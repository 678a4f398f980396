/**
 * Builds TensorFlow for Node into the user's cache: the npm package tfjs-node, compiled against the library inside PyPI's
 * TensorFlow wheel, because its own install script only knows a library too old for today's GPUs. Everything is built in
 * a folder of its own and renamed at the end, so that a half-installed one is never found. Python is used to fetch, not to run, and
 * sees no modules but its own (`-I`); what it and npm fetch is known by its hash.
 */
import { existsSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { userError } from '../../protocol/errors.ts';
import { makeFolder } from '../system/files.ts';
import {
  npmEnvironment,
  removeLeftovers,
  replaceFolder,
  requireTool,
  runGroup,
  type InstallProgress,
} from './installing.ts';
import {
  probeTensorFlow,
  tensorFlowEntry,
  tensorFlowFolder,
  type TensorFlow,
  type TensorFlowKind,
} from './tensorflow.ts';
import packages from './tensorflow-packages.json' with { type: 'json' };
import { requirementsOf, tensorFlowVersion } from './tensorflow-wheels.ts';

const packageVersion = packages.packages['node_modules/@tensorflow/tfjs-node'].version;

/** Tags of wheels for Linux x64; a fixed Python version makes the choice independent of the user's. */
const wheelTags = ['2_27', '2_24', '2_18', '2_17', '2_12', '2_5']
  .map((glibc) => `manylinux_${glibc}_x86_64`)
  .concat('manylinux2014_x86_64', 'manylinux2010_x86_64', 'manylinux1_x86_64');
const wheelOptions = [
  ...['--only-binary=:all:', '--python-version=3.11', '--implementation=cp', '--abi=cp311', '--abi=none'],
  ...wheelTags.flatMap((tag) => ['--platform', tag]),
];

/**
 * Installs it, or replaces an installed one. Yields before each step and returns what was installed.
 * @throws UserError `unsupported` or `device` naming what is missing or what failed; the signal's reason if aborted.
 */
export async function* installTensorFlow(
  kind: TensorFlowKind,
  signal: AbortSignal,
): AsyncGenerator<InstallProgress, TensorFlow> {
  const headers = nodeHeaders();
  const { python3, npm } = await requireTools(signal);
  const target = tensorFlowFolder(kind);
  const folder = `${target}.building-${process.pid}`;
  removeLeftovers(target);
  makeFolder(folder);
  const run = (command: string, args: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<void> =>
    runGroup('Building TensorFlow', command, args, { cwd: folder, environment, signal });

  const python = path.join(folder, 'venv', 'bin', 'python');
  const libraries = path.join(folder, 'python');
  const steps: readonly [detail: string, step: () => Promise<void> | void][] = [
    ['a Python environment to fetch with', () => run(python3, ['-I', '-m', 'venv', 'venv'])],
    [
      kind === 'tensorflow'
        ? `TensorFlow ${tensorFlowVersion}, about 270 MB`
        : `TensorFlow ${tensorFlowVersion}, CUDA and cuDNN, about 3 GB`,
      () => {
        const requirements = path.join(folder, 'requirements.txt');
        writeFileSync(requirements, requirementsOf(kind));
        const pip = ['-I', '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check'];
        const exactly = ['--no-deps', '--require-hashes', '-r', requirements];
        return run(python, [...pip, ...exactly, ...wheelOptions, '--target', libraries]);
      },
    ],
    [
      `@tensorflow/tfjs-node ${packageVersion}`,
      () => {
        const { dependencies } = packages.packages[''];
        writeFileSync(path.join(folder, 'package.json'), JSON.stringify({ private: true, dependencies }));
        writeFileSync(path.join(folder, 'package-lock.json'), JSON.stringify(packages));
        const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund'];
        return run(npm, args, npmEnvironment(folder));
      },
    ],
    [
      'compiling the binding',
      () => {
        linkLibraries(folder, libraries, kind);
        const environment = { npm_config_nodedir: headers, npm_config_build_from_source: 'true' };
        const args = ['rebuild', '@tensorflow/tfjs-node', '--foreground-scripts', '--ignore-scripts=false'];
        return run(npm, args, { ...npmEnvironment(folder), ...environment });
      },
    ],
  ];
  const total = steps.length + 1;
  try {
    for (const [done, [detail, step]] of steps.entries()) {
      yield { detail, done, total };
      await step();
    }
    yield { detail: 'checking it', done: steps.length, total };
    dropWhatOnlyBuilds(folder, libraries);
    const checked = await probeTensorFlow(tensorFlowEntry(folder), signal);
    if ('problem' in checked) {
      throw userError('device', `TensorFlow was built, but it does not work here: ${checked.problem}`);
    }
    replaceFolder(folder, target);
    return { ...checked.found, entry: tensorFlowEntry(target) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The folder above Node's `include/node`. @throws UserError if there are no headers, or on another platform. */
function nodeHeaders(): string {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw userError(
      'unsupported',
      `TensorFlow can be built here for Linux on x64 only; this is ${process.platform} on ${process.arch}.`,
      'Tune exits with --exit-device webgpu or cpu.',
    );
  }
  const prefix = path.dirname(path.dirname(process.execPath));
  if (!existsSync(path.join(prefix, 'include', 'node', 'node_api.h'))) {
    throw userError(
      'device',
      `Node's headers, which the build needs, are missing below ${path.join(prefix, 'include', 'node')}.`,
      "Use a Node from the official archive, which brings them, or install your distribution's package of them.",
    );
  }
  return prefix;
}

/** The paths of what is started here. @throws UserError naming the first tool that is missing and how to get it. */
async function requireTools(signal: AbortSignal): Promise<{ python3: string; npm: string }> {
  const python = 'Install it, for example with "apt install python3 python3-venv".';
  const compiler = 'for example with "apt install build-essential".';
  const python3 = await requireTool('python3', ['-I', '--version'], 'python3', python, signal);
  await requireTool('python3', ['-I', '-c', 'import ensurepip, venv'], "Python's venv", python, signal);
  const npm = await requireTool('npm', ['--version'], 'npm', 'Install it; it comes with Node.', signal);
  await requireTool('make', ['--version'], 'make', `Install it, ${compiler}`, signal);
  await requireTool('g++', ['--version'], 'g++, a C++ compiler', `Install one, ${compiler}`, signal);
  return { python3, npm };
}

/** Lays the libraries out as tfjs-node's build expects them, by relative links: the folder moves at the end. */
function linkLibraries(folder: string, libraries: string, kind: TensorFlowKind): void {
  const dependencies = path.join(folder, 'node_modules', '@tensorflow', 'tfjs-node', 'deps');
  const lib = path.join(dependencies, 'lib');
  makeFolder(lib);
  const link = (file: string, to: string): void => symlinkSync(path.relative(path.dirname(file), to), file);
  link(path.join(dependencies, 'include'), path.join(libraries, 'tensorflow', 'include'));
  for (const name of ['libtensorflow_cc', 'libtensorflow_framework']) {
    link(path.join(lib, `${name}.so.2`), path.join(libraries, 'tensorflow', `${name}.so.2`));
  }
  // Names that the build looks for; the version in one only has to be there.
  link(path.join(lib, 'libtensorflow.so'), path.join(lib, 'libtensorflow_cc.so.2'));
  link(path.join(lib, 'libtensorflow.so.2.9.1'), path.join(lib, 'libtensorflow_cc.so.2'));
  link(path.join(lib, 'libtensorflow_framework.so'), path.join(lib, 'libtensorflow_framework.so.2'));
  // The library looks for CUDA beside the folder that it was opened from.
  if (kind === 'tensorflow-gpu') link(path.join(dependencies, 'nvidia'), path.join(libraries, 'nvidia'));
}

/** Of the wheel only the libraries are needed from here on: half a gigabyte less. */
function dropWhatOnlyBuilds(folder: string, libraries: string): void {
  const drop = (...names: string[]): void => rmSync(path.join(...names), { recursive: true, force: true });
  drop(folder, 'venv');
  drop(folder, 'requirements.txt');
  drop(folder, 'node_modules', '@tensorflow', 'tfjs-node', 'deps', 'include');
  const wheel = path.join(libraries, 'tensorflow');
  for (const name of readdirSync(wheel)) if (!name.startsWith('libtensorflow')) drop(wheel, name);
}
