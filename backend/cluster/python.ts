/** Finds a Python on this machine with what the ranks need, or says what to install. */
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { userError } from '../../protocol/errors.ts';
import { programPath } from '../devices/programs.ts';

/** The variable that names another Python than the one on PATH, such as that of a virtual environment. */
const pythonVariable = 'EARLY_EXIT_PYTHON';

/** As in distributed/pyproject.toml; look_on_ray.py wants the same. */
const wanted = ['torch>=2.8', 'transformers>=5.0', 'safetensors>=0.5', 'numpy'];
const wayOut = `Install them with "pip install ${wanted.map((each) => `'${each}'`).join(' ')}", or name a Python that has them in ${pythonVariable}.`;

/** Prints what is missing, or older than wanted. */
const missingScript = `
import importlib.metadata, importlib.util, re
def numbers(version): return [int(number) for number in re.findall(r"\\d+", version)[:2]]
def lacks(wanted):
    name, _, least = wanted.partition(">=")
    if importlib.util.find_spec(name) is None: return True
    try: return numbers(importlib.metadata.version(name)) < numbers(least)
    except importlib.metadata.PackageNotFoundError: return False
print(*[each for each in ${JSON.stringify(wanted)} if lacks(each)])`;

/**
 * The absolute path of a Python that has PyTorch.
 * @throws UserError `not-found` if there is none, or a package is missing or too old.
 */
export async function findPython(signal: AbortSignal): Promise<string> {
  const named = process.env[pythonVariable];
  const python = programPath(named ?? 'python3');
  if (!python)
    throw userError(
      'not-found',
      named ? `${pythonVariable} is ${named}, which cannot be started.` : 'There is no python3 on this machine.',
      `Install Python 3.10 or newer. ${wayOut}`,
    );
  let missing: string;
  try {
    missing = (await outputOf(python, missingScript, signal)).trim();
  } catch (cause) {
    signal.throwIfAborted();
    throw userError('not-found', `${python} cannot be started.`, `Install Python 3.10 or newer. ${wayOut}`, cause);
  }
  if (missing) throw userError('not-found', `${python} has no ${missing.replaceAll(' ', ', no ')}.`, wayOut);
  return python;
}

/**
 * What a script prints, with the packages that ranks have, and none of the current folder. Not `-I`: it would leave out those of the user and
 * of PYTHONPATH, too.
 */
async function outputOf(python: string, script: string, signal: AbortSignal): Promise<string> {
  const elsewhere = `import sys; sys.path = [place for place in sys.path if place]\n${script}`;
  return (await promisify(execFile)(python, ['-c', elsewhere], { signal })).stdout;
}

/** GPUs that PyTorch sees on this machine. */
export async function countGpus(python: string, signal: AbortSignal): Promise<number> {
  const printed = await outputOf(python, 'import torch; print(torch.cuda.device_count())', signal);
  return Number.parseInt(printed, 10) || 0;
}

/** Value of PYTHONPATH: this folder before those that are there. */
export const pythonPath = (folder: string, { PYTHONPATH } = process.env): string =>
  PYTHONPATH ? `${folder}${path.delimiter}${PYTHONPATH}` : folder;
