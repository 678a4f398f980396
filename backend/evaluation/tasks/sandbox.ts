/**
 * Runs unchecked code, such as a model's: in a process of its own, in a folder of its own, with limits on time, memory, files and
 * processes, without a network if the system can forbid it. When it ends, no process or file of it is left; nor is a process if this one is
 * killed, and its files are removed when code is run the next time. Knows no task.
 */
import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { userError } from '../../../protocol/errors.ts';
import { fileError } from '../../system/files.ts';
import { newFolder, removeFolder, removeLeftovers } from './judge-folder.ts';
import { nodeJudge } from './node-judge.ts';
import { pythonJudge } from './python-judge.ts';

export const languages = ['python', 'javascript'] as const;
export type Language = (typeof languages)[number];

/** How a program ended. `passed` alone: it ran to its end, and none of its tests failed. */
export type Ending = 'passed' | 'failed' | 'time' | 'memory' | 'forbidden';

export interface Sandbox {
  /** Runs a program to its end. @throws UserError if its folder cannot be written or no process starts: that says nothing of the program. */
  run(program: string, language: Language): Promise<Ending>;
  /** Ends what runs or waits at once, with an ending that says nothing of it; nothing runs any more. */
  readonly dispose: () => void;
}

export interface SandboxLimits {
  /** Of the processor; then of the clock, for what sleeps. */
  readonly seconds: number;
  readonly wallSeconds: number;
  readonly bytes: number;
  /** Of one file. */
  readonly fileBytes: number;
}

const usualLimits: SandboxLimits = {
  seconds: 5,
  wallSeconds: 120,
  bytes: 2 ** 30,
  fileBytes: 2 ** 20,
};

/**
 * Finds the interpreters that the languages need, and what the system can forbid.
 * @throws UserError `unsupported` if a language has no interpreter here, or an empty program does not pass.
 */
export async function openSandbox(
  needed: ReadonlySet<Language>,
  limits: SandboxLimits = usualLimits,
  parallel = Math.max(1, availableParallelism() - 1),
): Promise<Sandbox> {
  removeLeftovers();
  const apart = await separation();
  const python = needed.has('python') ? await findPython() : null;
  const running = new Set<() => void>();
  let free = parallel;
  let isDisposed = false;
  const waiting: (() => void)[] = [];
  const turn = async (): Promise<void> => {
    if (free > 0) free--;
    else await new Promise<void>((resolve) => waiting.push(resolve));
  };
  const next = (): void => {
    const first = waiting.shift();
    if (first) first();
    else free++;
  };
  const judge = async (program: string, language: Language, within: SandboxLimits): Promise<Ending | null> => {
    const folder = newFolder();
    try {
      const words = language === 'python' ? pythonWords(python!) : nodeWords(folder, within);
      return await judged([...limitWords(within), ...apart, ...words], folder, program, within, running);
    } catch (error) {
      throw fileError(error, 'write', folder);
    } finally {
      removeFolder(folder);
    }
  };
  // Whether they begin does not depend on how long the clock may run.
  for (const language of needed) {
    const ending = await judge('', language, { ...limits, wallSeconds: usualLimits.wallSeconds });
    if (ending !== 'passed') throw unusable(language === 'python' ? python! : process.execPath, ending);
  }

  return {
    async run(program, language) {
      await turn();
      try {
        if (isDisposed) return 'failed';
        const ending = await judge(program, language, limits);
        if (ending !== null) return ending;
        throw userError(
          'unsupported',
          `No process could be started to run a program in ${language}.`,
          'Give the same command again: it goes on where it stopped.',
        );
      } finally {
        next();
      }
    },
    dispose() {
      isDisposed = true;
      for (const end of running) end();
      for (const go of waiting.splice(0)) go();
    },
  };
}

const unusable = (interpreter: string, ending: Ending | null): Error =>
  userError(
    'unsupported',
    `${interpreter} cannot run the tests of these tasks: ${ending === null ? 'it ends before a program begins' : `an empty program does not pass (${ending})`}.`,
    'Put another one first on PATH, or leave these tasks out.',
  );

/**
 * A judge is ended by the processor's time; the clock means little while other programs use the cores. The model's threads wait for each
 * other, so judges, which run beside them, get a lower priority. Memory is limited by what can be written (-d): Node reserves far more
 * addresses than it uses, and its own limit leaves out buffers. That counts the stacks of its threads (-s), so a user's larger one would
 * leave it nothing. Shells count files in 512 bytes (-f), and memory in 1,024. A judge that sleeps needs no processor, so a process of its
 * group waits until this one's end of a pipe closes, as it does if this one is killed, and then ends the group.
 */
function limitWords({ seconds, bytes, fileBytes }: SandboxLimits): string[] {
  if (process.platform === 'win32') return [];
  const limits = { t: seconds, f: fileBytes / 512, d: bytes / 1024, s: 8192, c: 0 };
  const set = Object.entries(limits).map(([letter, most]) => `ulimit -${letter} ${Math.ceil(most)}; `);
  const guard = `(read _ <&3; kill -9 -$$) >/dev/null 2>&1 &`;
  return ['sh', '-c', `${set.join('')}${guard} exec nice -n 10 "$@" 3<&-`, 'sh'];
}

/** -I: neither the user's packages nor variables; -S: no site; -B: nothing is compiled to disk. */
const pythonWords = (python: string): string[] => [python, '-I', '-S', '-B', '-c', pythonJudge];

function nodeWords(folder: string, { bytes }: SandboxLimits): string[] {
  writeFileSync(join(folder, 'judge.cjs'), nodeJudge, { mode: 0o600 });
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const permission = major > 23 || (major === 23 && minor >= 5) ? '--permission' : '--experimental-permission';
  const heap = Math.floor(bytes / 2 ** 21);
  const allowed = [`--allow-fs-read=${folder}/*`, `--allow-fs-write=${folder}/*`];
  return [
    process.execPath,
    permission,
    ...allowed,
    `--max-old-space-size=${heap}`,
    '--no-warnings',
    join(folder, 'judge.cjs'),
  ];
}

/** How Node ends if it gets no memory: it aborts, which is a fault if it is the first process of its namespace, or stops at a trap. */
const faults: ReadonlySet<NodeJS.Signals> = new Set(['SIGABRT', 'SIGSEGV', 'SIGTRAP'] as const);

/** What a judge says before it runs a program. */
const begun = 'begun ';

/** Runs one judge until it ends, or until its time is over; null if it ended by itself before it began, which says nothing of the program. */
function judged(
  [command, ...words]: readonly string[],
  folder: string,
  program: string,
  limits: SandboxLimits,
  running: Set<() => void>,
): Promise<Ending | null> {
  const secret = randomBytes(16).toString('hex');
  const { promise, resolve } = settled<Ending | null>();
  const child = spawn(command!, words, {
    cwd: folder,
    // A group of its own, which ends as a whole.
    detached: process.platform !== 'win32',
    env: { PATH: process.env['PATH'] ?? '', HOME: folder, TMPDIR: folder, LANG: 'C.UTF-8' },
    stdio: ['pipe', 'pipe', 'ignore', process.platform === 'win32' ? 'ignore' : 'pipe'],
    windowsHide: true,
  });
  let output = '';
  let [isLate, isEnded] = [false, false];
  const endGroup = (): void => {
    if (child.pid === undefined) return;
    try {
      process.kill(process.platform === 'win32' ? child.pid : -child.pid, 'SIGKILL');
    } catch {
      // It has already ended.
    }
  };
  const end = (): void => {
    isEnded = true;
    endGroup();
  };
  running.add(end);
  const timer = setTimeout(() => {
    isLate = true;
    end();
  }, 1000 * limits.wallSeconds);
  child.stdout!.on('data', (piece: Buffer) => {
    output += piece.toString('latin1');
    if (output.length > 4096) end();
  });
  child.on('error', () => resolve(null));
  // Ends the processes that the program started, and the one that waits for this one's end: they belong to its group, and hold its pipes.
  child.on('exit', endGroup);
  child.on('close', (code, signal) => {
    const endedItself = signal === null && !isEnded;
    if (isLate) return resolve('time');
    const said = output.startsWith(begun) ? output.slice(begun.length) : null;
    if (said === null && endedItself) return resolve(null);
    if (code === 0 && said === secret) return resolve('passed');
    if (said?.startsWith('memory')) return resolve('memory');
    if (said?.startsWith('forbidden') || signal === 'SIGSYS') return resolve('forbidden');
    // A judge that has begun says why it ends, unless the system ends it.
    if (said !== '' || code === 0) return resolve('failed');
    resolve(signal !== null && faults.has(signal) ? 'memory' : 'time');
  });
  for (const pipe of [child.stdin, child.stdio[3]]) pipe?.on('error', () => undefined);
  const { seconds, bytes, fileBytes } = limits;
  child.stdin!.end(`${JSON.stringify({ program, secret, seconds, bytes, fileBytes })}\n`);
  return promise.finally(() => {
    clearTimeout(timer);
    running.delete(end);
  });
}

const run = promisify(execFile);

/**
 * The command that runs another in namespaces of its own (no network, processes that end with the first); empty if the system forbids that.
 */
async function separation(): Promise<readonly string[]> {
  if (process.platform !== 'linux') return [];
  const words = ['unshare', '--map-root-user', '--net', '--ipc', '--pid', '--fork', '--kill-child', '--mount-proc'];
  return run(words[0]!, [...words.slice(1), 'true'], { timeout: 5000 }).then(
    () => words,
    () => [],
  );
}

/** The interpreter itself: the first match on PATH is often a script that searches for it each time. */
async function findPython(): Promise<string> {
  const names = process.platform === 'win32' ? ['python', 'py'] : ['python3', 'python'];
  for (const name of names) {
    const question = 'import sys; print(sys.executable if sys.version_info >= (3, 8) else "")';
    const found = await run(name, ['-c', question], { timeout: 10_000 }).catch(() => null);
    if (found && found.stdout.trim() !== '') return found.stdout.trim();
  }
  throw userError(
    'unsupported',
    'The tests of these tasks are Python, and there is no python3 (3.8 or newer) on PATH.',
    'Install Python, or leave these tasks out.',
  );
}

function settled<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>((done) => (resolve = done));
  return { promise, resolve };
}
