/** Programs that are measured from outside: the command line, built anew. */
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { benchCache, root } from './material.ts';

/** Builds dist/, once a run. */
export const build = once(() => {
  const { status } = spawnSync(process.execPath, ['scripts/build.mjs'], { cwd: root, stdio: 'inherit' });
  if (status !== 0) throw new Error('the build failed');
});

/** An empty folder below the bench's cache. */
export function freshFolder(name: string): string {
  const folder = path.join(benchCache, name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  return folder;
}

export interface Watched {
  readonly seconds: number;
  /** Seconds that processors were busy with it, as far as it was looked at; null if the system has no /proc. */
  readonly processor: number | null;
  /** Largest resident memory in bytes; null if the system has no /proc. */
  readonly peak: number | null;
  /** What it wrote to its standard output, unless that was shown. */
  readonly output: string;
}

const lookMilliseconds = 50;

/** Runs `early-exit` with a cache of its own, its output on stderr where `isShown`. */
export async function runProgram(args: readonly string[], { isShown = false } = {}): Promise<Watched> {
  build();
  const started = performance.now();
  const child = spawn(process.execPath, [path.join(root, 'dist/cli.js'), ...args], {
    cwd: benchCache,
    env: { ...process.env, EARLY_EXIT_CACHE: path.join(benchCache, 'user-cache') },
    stdio: ['ignore', isShown ? 2 : 'pipe', 2],
  });
  let output = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (output += text));
  let peak: number | null = null;
  let processor: number | null = null;
  // The mark only rises, so what the last look misses is what came after it.
  const looking = setInterval(() => {
    peak = highWaterMark(child.pid) ?? peak;
    processor = processorSeconds(child.pid) ?? processor;
  }, lookMilliseconds);
  const code = await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  }).finally(() => clearInterval(looking));
  if (code !== 0) throw new Error(`early-exit ${args[0] ?? ''} ended with code ${String(code)}`);
  return { seconds: (performance.now() - started) / 1000, processor, peak, output };
}

function highWaterMark(pid: number | undefined): number | null {
  const found = /^VmHWM:\s+(\d+) kB$/m.exec(ofProcess(pid, 'status'));
  return found ? 1024 * Number(found[1]) : null;
}

/** Of Linux: a hundredth of a second. */
const ticksPerSecond = 100;

function processorSeconds(pid: number | undefined): number | null {
  // The name, which may hold anything, stands in brackets; user and system time are the 12th and 13th field behind it.
  const fields = ofProcess(pid, 'stat').split(') ').at(-1)!.split(' ');
  const ticks = Number(fields[11]) + Number(fields[12]);
  return Number.isFinite(ticks) ? ticks / ticksPerSecond : null;
}

/** A file of /proc; empty if there is none, or the process has just ended. */
function ofProcess(pid: number | undefined, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return '';
  }
}

function once(work: () => void): () => void {
  let isDone = false;
  return () => {
    if (isDone) return;
    work();
    isDone = true;
  };
}
