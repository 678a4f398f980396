/**
 * What installations into the user's cache have in common: tools that are looked for, commands in groups of their own, and folders
 * that are built aside and renamed, so that a half-installed one is never found.
 */
import { existsSync, readdirSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { execa } from 'execa';
import { userError } from '../../protocol/errors.ts';
import { processIsAlive } from '../system/processes.ts';
import { programPath, startedIn } from './programs.ts';

/** What is about to be done, as a phrase, and how many steps are over. */
export interface InstallProgress {
  readonly detail: string;
  readonly done: number;
  readonly total: number;
}

/** The path of a tool that works. @throws UserError naming it and how to get it. */
export async function requireTool(
  command: string,
  args: readonly string[],
  name: string,
  remedy: string,
  signal: AbortSignal,
  what = 'The build',
): Promise<string> {
  const file = programPath(command);
  const works =
    file !== null &&
    !(await execa(file, args, { ...startedIn(path.dirname(file)), reject: false, stdin: 'ignore' })).failed;
  signal.throwIfAborted();
  if (!works) throw userError('device', `${what} needs ${name}, which was not found.`, remedy);
  return file;
}

/**
 * Runs a command in a process group of its own, so that cancelling ends its children too.
 * @throws UserError with the last line that it wrote.
 */
export async function runGroup(
  doing: string,
  command: string,
  args: readonly string[],
  { cwd, environment, signal }: { cwd: string; environment: NodeJS.ProcessEnv; signal: AbortSignal },
): Promise<void> {
  signal.throwIfAborted();
  const own = startedIn(cwd);
  const child = execa(command, args, {
    ...own,
    env: { ...own.env, ...environment },
    detached: process.platform !== 'win32',
    reject: false,
    all: true,
    stdin: 'ignore',
  });
  const stop = (): void => {
    if (process.platform === 'win32') child.kill();
    else if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
  };
  signal.addEventListener('abort', stop, { once: true });
  const { failed, all } = await child.finally(() => signal.removeEventListener('abort', stop));
  signal.throwIfAborted();
  if (!failed) return;
  const lines = all.split('\n').filter((line) => /error|failed|not found|no space/i.test(line));
  const complaint = (lines.find((line) => /error/i.test(line)) ?? lines[0] ?? all.split('\n').at(-1) ?? '').trim();
  throw userError(
    'device',
    `${doing} failed at "${path.basename(command)} ${args.slice(0, 3).join(' ')} …": ${complaint}`,
  );
}

/** npm's settings of an enclosing npm run must not lead it to another folder. */
export const npmEnvironment = (folder: string): NodeJS.ProcessEnv => ({
  npm_config_local_prefix: folder,
  npm_config_prefix: undefined,
  npm_config_global: undefined,
});

/** Puts a folder in the place of another in one step. */
export function replaceFolder(folder: string, target: string): void {
  const old = `${target}.old-${process.pid}`;
  if (existsSync(target)) renameSync(target, old);
  renameSync(folder, target);
  rmSync(old, { recursive: true, force: true });
}

/** Removes what killed builds have left. */
export function removeLeftovers(target: string): void {
  const parent = path.dirname(target);
  if (!existsSync(parent)) return;
  for (const name of readdirSync(parent)) {
    const [, pid] = /\.(?:building|old)-(\d+)$/.exec(name.startsWith(path.basename(target) + '.') ? name : '') ?? [];
    if (pid !== undefined && !processIsAlive(Number(pid)))
      rmSync(path.join(parent, name), { recursive: true, force: true });
  }
}
