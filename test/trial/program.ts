/** The command line as a shell sees it: started, watched, ended; and what is left of it afterwards. */
import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

export const root = path.resolve(import.meta.dirname, '../..');

/** Node's arguments that start the command line. */
export type Program = readonly string[];
export const builtProgram: Program = [path.join(root, 'dist/cli.js')];

export interface Start {
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
  /** Descriptors in place of pipes. */
  readonly stdout?: number;
  /** A program that starts this one, with its arguments. */
  readonly through?: readonly string[];
  readonly seconds?: number;
  /** Called once with the child, to disturb it. */
  readonly disturb?: (child: ChildProcess) => void;
}

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly out: string;
  readonly err: string;
  readonly seconds: number;
  /** Largest resident memory in bytes; 0 if the system has no /proc. */
  readonly peak: number;
  /** Ended by us, because it took too long. */
  readonly late: boolean;
  /** Processes that it left behind, which are ended, too. */
  readonly orphans: number;
}

/** Patience with one command on a busy machine. */
const patienceSeconds = 180;
const lookMilliseconds = 50;

/** Runs `early-exit WORDS…` in a process group of its own, to its end. */
export async function runProgram(program: Program, words: readonly string[], start: Start): Promise<Ended> {
  const [command, ...args] = [...(start.through ?? []), process.execPath, ...program, ...words];
  const stdio: StdioOptions = ['pipe', start.stdout ?? 'pipe', 'pipe'];
  const began = performance.now();
  const child = spawn(command!, args, { cwd: start.cwd, env: environment(start), stdio, detached: true });
  let [out, err, peak, late] = ['', '', 0, false];
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (out += text));
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (err += text));
  // It may end before it has read its input.
  child.stdin!.on('error', () => {}).end(start.input ?? '');
  const looking = setInterval(() => (peak = Math.max(peak, memoryOf(child.pid!, 'VmHWM'))), lookMilliseconds);
  const timer = setTimeout(() => (late = kill(-child.pid!)), 1000 * (start.seconds ?? patienceSeconds));
  const ended = new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      resolve([code, signal]);
      // What it left behind may hold the streams open.
      setTimeout(() => [child.stdout, child.stderr].forEach((stream) => stream?.destroy()), 2000).unref();
    });
  });
  const closed = new Promise((resolve) => child.once('close', resolve));
  start.disturb?.(child);
  try {
    const [code, signal] = await ended;
    const seconds = (performance.now() - began) / 1000;
    await closed;
    const orphans = late ? 0 : endGroup(child.pid!);
    return { code, signal, out, err, seconds, peak, late, orphans };
  } finally {
    clearInterval(looking);
    clearTimeout(timer);
  }
}

/** Nothing of the person who runs the trial gets in: no token, no cache, no colours. */
export const environment = ({ cwd, env }: Pick<Start, 'cwd' | 'env'>): Record<string, string> => ({
  PATH: process.env['PATH'] ?? '',
  HOME: cwd,
  TMPDIR: process.env['TMPDIR'] ?? '/tmp',
  NO_COLOR: '1',
  EARLY_EXIT_CACHE: path.join(cwd, '.early-exit-cache'),
  ...env,
});

function kill(pid: number): boolean {
  try {
    return process.kill(pid, 'SIGKILL');
  } catch {
    return false; // it has just ended
  }
}

/** Ends what is left of a process group; answers how many there were. */
function endGroup(group: number): number {
  if (!existsSync('/proc/self/stat')) return Number(kill(-group));
  const left = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && groupOf(name) === group);
  if (left.length) kill(-group);
  return left.length;
}

/** The process group of a process that runs; null for what has ended and waits to be read. */
function groupOf(pid: string): number | null {
  try {
    // The name, in brackets, may hold anything.
    const [state, , group] = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    return state === 'Z' ? null : Number(group);
  } catch {
    return null;
  }
}

/** Bytes of `VmRSS` (now) or `VmHWM` (at most so far) of a process; 0 if that is not to be had. */
export function memoryOf(pid: number, figure: 'VmRSS' | 'VmHWM'): number {
  try {
    const found = new RegExp(`^${figure}:\\s+(\\d+) kB$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
    return found ? 1024 * Number(found[1]) : 0;
  } catch {
    return 0;
  }
}
