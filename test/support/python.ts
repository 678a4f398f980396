/** A Python with modules that some tests compare with. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '../..');

/** The first with all modules of: EARLY_EXIT_PYTHON, the environment of `npm run test:distributed`, python3. Says so if none has. */
export function pythonWith(...modules: readonly string[]): string | null {
  const cached = path.join(root, '.cache/distributed/bin/python');
  const code = `import importlib.util as u, sys; sys.exit(any(u.find_spec(m) is None for m in ${JSON.stringify(modules)}))`;
  for (const python of [process.env['EARLY_EXIT_PYTHON'], existsSync(cached) ? cached : undefined, 'python3']) {
    if (python === undefined) continue;
    try {
      execFileSync(python, ['-c', code], { stdio: 'ignore' });
      return python;
    } catch {
      // The next one.
    }
  }
  console.warn(`Skipped: no Python with ${modules.join(' and ')} here; EARLY_EXIT_PYTHON names one.`);
  return null;
}

/** Runs a script of this folder; answers what it printed, as JSON. */
export const runPython = <T>(python: string, script: string, given: readonly string[]): T =>
  JSON.parse(
    execFileSync(python, ['-W', 'ignore', path.join(import.meta.dirname, script), ...given], {
      encoding: 'utf8',
      maxBuffer: 2 ** 28,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, HF_HUB_OFFLINE: '1', TRANSFORMERS_VERBOSITY: 'error', OMP_NUM_THREADS: '1' },
    }),
  ) as T;
