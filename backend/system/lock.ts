/**
 * A lock file among the processes of one machine: at most one owner, and an owner that has ended does not count. A stale lock is never
 * deleted, because it could be another process's new lock by then: a second lock decides which process may replace it.
 */
import { randomBytes } from 'node:crypto';
import { linkSync, readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { uptime } from 'node:os';
import path from 'node:path';
import type { UserError } from '../../protocol/errors.ts';
import { fileError, modes, renameFile } from './files.ts';
import { processIsAlive, startOf } from './processes.ts';

export interface Lock {
  /** Whether its last holder was killed and left it. */
  readonly inherited: boolean;
  release(): void;
}

/** The owner of a lock. */
interface Holder {
  readonly pid: number;
  /** Of Linux; null elsewhere. */
  readonly thread: number | null;
  /** When it started, as its system reports it; null if that is not known. The process id alone may be another's by now. */
  readonly started: string | null;
  /** When the lock was made, in milliseconds since 1970; null in locks of earlier versions. */
  readonly made: number | null;
  readonly token: string;
}

/** Takes a lock, or returns the process that has it. Throws the file system's error if it cannot be written. */
export function takeLock(file: string): Lock | { readonly heldBy: number } {
  const own = ownHolder();
  let inherited = false;
  const before = readHolder(file);
  if (before !== null && !isAlive(before)) inherited = true;
  const heldBy = seize(file, own);
  if (heldBy !== null) return { heldBy };
  return {
    inherited,
    release: () => {
      if (readHolder(file)?.token === own.token) rmSync(file, { force: true });
    },
  };
}

/**
 * Takes the lock of the folder in which the file is.
 * @throws UserError `busy(pid)` if another process has it, `file-system` if it cannot be written.
 */
export function lockOrRefuse(file: string, busy: (pid: number) => UserError): Lock {
  let lock: ReturnType<typeof takeLock>;
  try {
    lock = takeLock(file);
  } catch (error) {
    throw fileError(error, 'write', path.dirname(file));
  }
  if ('heldBy' in lock) throw busy(lock.heldBy);
  return lock;
}

/** Whether a running process has a lock. Throws the file system's error if that cannot be read. */
export function isHeld(file: string): boolean {
  const holder = readHolder(file);
  return holder !== null && isAlive(holder);
}

/** Puts `own` at `file`, in place of an owner that has ended; null if that was done, else the process that has the lock. */
function seize(file: string, own: Holder): number | null {
  for (;;) {
    if (place(file, own)) return null;
    const holder = readHolder(file);
    if (holder === null) continue;
    if (isAlive(holder)) return holder.pid;
    // Only the process with this second lock may replace the first; if it is killed, the second lock is replaced in turn.
    const heir = `${file}.${holder.token}`;
    const other = seize(heir, own);
    if (other !== null) return other;
    const isStillThere = readHolder(file)?.token === holder.token;
    if (isStillThere) replace(file, own);
    rmSync(heir, { force: true });
    if (isStillThere) return null;
  }
}

/** False if the file exists already. It is never visible half-written. */
function place(file: string, own: Holder): boolean {
  const temporary = writeTemporary(file, own);
  try {
    linkSync(temporary, file);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return false;
    if (!withoutLinks.has(code ?? '')) throw error;
    return placeWithoutLinks(file, own);
  } finally {
    rmSync(temporary, { force: true });
  }
}

/** Errors of file systems without hard links; the last is that of exFAT on Windows. */
const withoutLinks: ReadonlySet<string> = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EINVAL', 'EISDIR']);

function placeWithoutLinks(file: string, own: Holder): boolean {
  try {
    writeFileSync(file, JSON.stringify(own), { flag: 'wx', mode: modes.owner.file });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

function replace(file: string, own: Holder): void {
  const temporary = writeTemporary(file, own);
  renameFile(temporary, file);
}

function writeTemporary(file: string, own: Holder): string {
  const temporary = `${file}.${own.token}.tmp`;
  try {
    writeFileSync(temporary, JSON.stringify(own), { mode: modes.owner.file });
  } catch (error) {
    // On a full disk the file exists without its text.
    rmSync(temporary, { force: true });
    throw error;
  }
  return temporary;
}

/** Null if there is no lock; a lock that cannot be read belongs to no process. */
function readHolder(file: string): Holder | null {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  const unreadable: Holder = { pid: 0, thread: null, started: null, made: null, token: 'unreadable' };
  try {
    const { pid, thread, started, made, token } = JSON.parse(text) as Record<string, unknown>;
    if (!Number.isSafeInteger(pid) || typeof token !== 'string' || !/^[0-9a-f]{16}$/.test(token)) return unreadable;
    return {
      pid: pid as number,
      thread: Number.isSafeInteger(thread) ? (thread as number) : null,
      started: typeof started === 'string' ? started : null,
      made: Number.isFinite(made) ? (made as number) : null,
      token,
    };
  } catch {
    // Without hard links a lock exists for a moment before it has its text.
    return isFresh(file) ? { ...unreadable, pid: process.pid } : unreadable;
  }
}

const freshMilliseconds = 2_000;
const isFresh = (file: string): boolean =>
  Date.now() - (statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0) < freshMilliseconds;

function ownHolder(): Holder {
  const thread = ownThread();
  const { pid } = process;
  return { pid, thread, started: startOf(pid, thread), made: Date.now(), token: randomBytes(8).toString('hex') };
}

/** Whether the very process (on Linux: thread) that took the lock still runs. */
function isAlive({ pid, thread, started, made }: Holder): boolean {
  if (pid <= 0 || !processIsAlive(pid)) return false;
  if (started !== null) return startOf(pid, thread) === started;
  // No process is older than the system's start; its clock may have been set since.
  return made === null || made > Date.now() - 1000 * uptime() - clockMilliseconds;
}

const clockMilliseconds = 60_000;

/** The system's number of this thread, on Linux. */
function ownThread(): number | null {
  if (process.platform !== 'linux') return null;
  try {
    return Number(path.basename(readlinkSync('/proc/thread-self')));
  } catch {
    return null;
  }
}
