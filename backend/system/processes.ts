/** Processes of this machine, distinguished from later ones with the same number. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { record, simple, text, type Shape } from '../../protocol/shapes.ts';

/** A process as a file remembers it. */
export interface ProcessIdentity {
  readonly pid: number;
  /** The start of the system and that of the process, as the system reports them; null if that is not known. */
  readonly started: string | null;
}

/** `started` may be missing, if it was not known. */
export const processShape: Shape<ProcessIdentity> = record({
  pid: simple('the number of a process', (value): value is number => Number.isSafeInteger(value) && Number(value) > 0),
  started: { read: (value, place) => (value === undefined || value === null ? null : text.read(value, place)) },
});

export const identityOf = (pid: number): ProcessIdentity => ({ pid, started: startOf(pid) });

/** Whether exactly this process runs; if the system reports no start times, whether one with its number does. */
export const isRunning = ({ pid, started }: ProcessIdentity): boolean =>
  processIsAlive(pid) && (started === null || startOf(pid) === started);

/**
 * Whether a process that a file names may be signalled: only if it certainly is the one that still runs. Process 1 never is, since `kill`
 * takes the group of that number for all processes of the user.
 */
export const isCertainlyRunning = (process: ProcessIdentity): boolean =>
  process.pid > 1 && process.started !== null && isRunning(process);

/** Whether there is a process with this number, also of another user. */
export function processIsAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** When a process, or on Linux one of its threads, started; null if the system does not report it. */
export function startOf(pid: number, thread: number | null = null): string | null {
  try {
    if (process.platform === 'linux') {
      const stat = readFileSync(thread === null ? `/proc/${pid}/stat` : `/proc/${pid}/task/${thread}/stat`, 'utf8');
      // The name, in brackets, may contain anything; the 20th field after it is the start in ticks since the system's own.
      const ticks = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
      return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()} ${ticks}`;
    }
    if (process.platform === 'win32') return null;
    const words = ['-o', 'lstart=', '-p', String(pid)];
    return (
      execFileSync('/bin/ps', words, { cwd: '/', env: { LC_ALL: 'C', TZ: 'UTC' }, encoding: 'utf8' }).trim() || null
    );
  } catch {
    return null;
  }
}
