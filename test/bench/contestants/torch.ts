/** The tuning step in PyTorch as a contestant, where a python3 with torch is at hand. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { execa } from 'execa';
import { benchCache } from '../material.ts';
import type { Contestant } from '../measure.ts';

export type TorchPrecision = 'f32' | 'bf16';

export interface Torch {
  readonly python: string;
  readonly version: string;
}

/** The first with torch of: EARLY_EXIT_PYTHON, a virtual environment at .cache/bench/torch, python3. Says so if there is none. */
export async function findTorch(): Promise<Torch | null> {
  const own = path.join(benchCache, process.platform === 'win32' ? 'torch/Scripts/python.exe' : 'torch/bin/python');
  for (const python of [process.env['EARLY_EXIT_PYTHON'], existsSync(own) ? own : undefined, 'python3']) {
    if (python === undefined) continue;
    const { failed, stdout } = await execa(python, ['-c', 'import torch; print(torch.__version__)'], { reject: false });
    if (!failed) return { python, version: stdout.trim() };
  }
  console.warn('Left out: no python3 with torch (python3 -m venv .cache/bench/torch, then pip install torch there).');
  return null;
}

/** The process ends with `dispose`. */
export async function torchContestant(
  name: string,
  { python }: Torch,
  precision: TorchPrecision,
  threads: number,
  shape: { readonly batch: number; readonly tokens: number; readonly layers: readonly number[] },
): Promise<Contestant & { dispose(): Promise<void> }> {
  const script = path.join(import.meta.dirname, '../torch_step.py');
  const values = { precision, threads, batch: shape.batch, tokens: shape.tokens, exits: shape.layers.join() };
  const given = Object.entries(values).flatMap(([key, value]) => [`--${key}`, `${value}`]);
  const child = spawn(python, ['-W', 'ignore', script, ...given], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async (): Promise<string> => {
    const next = await lines.next();
    if (next.done) throw new Error('the process of PyTorch ended early');
    return next.value;
  };
  await answer();
  return {
    name,
    async turn() {
      child.stdin.write('\n');
      return { [name]: Number(await answer()) };
    },
    async dispose() {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.stdin.end();
      await ended;
    },
  };
}
