/** torchrun's own launcher: on this machine, or on hosts that ssh reaches. */
import { spawn } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import { closeSync } from 'node:fs';
import path from 'node:path';
import { userError } from '../../protocol/errors.ts';
import { ranksOf, type Mesh } from '../../protocol/options/place.ts';
import { programPath } from '../devices/programs.ts';
import { openForWriting } from '../system/files.ts';
import { identityOf, type ProcessIdentity } from '../system/processes.ts';
import { packageName } from './job.ts';
import { findPython, pythonPath } from './python.ts';
import { quoted } from '../../protocol/shell-word.ts';
import { quotedPythonPath } from './shell.ts';

/** Address and port at which the launchers of one run meet, and no others. */
export interface Meeting {
  readonly id: string;
  /** On the first of the hosts. */
  readonly port: number;
}

/** Ports that systems do not assign by themselves: `first` and the `count` from there on. */
export const meetingPorts = { first: 20_000, count: 12_000 } as const;

export const newMeeting = (): Meeting => ({
  id: randomBytes(8).toString('hex'),
  port: meetingPorts.first + randomInt(meetingPorts.count),
});

/**
 * Starts the launchers of a run; without hosts, only on this machine.
 * @throws UserError if Python or ssh is missing.
 */
export async function startLaunchers(
  folder: string,
  log: string,
  hosts: readonly string[],
  mesh: Mesh,
  signal: AbortSignal,
): Promise<ProcessIdentity[]> {
  if (hosts.length === 0) {
    const python = await findPython(signal);
    return [startHere(folder, log, [python, ...launcherWords(folder, ranksOf(mesh), [])])];
  }
  const ssh = programPath('ssh');
  if (!ssh)
    throw userError('not-found', 'There is no ssh on this machine.', 'Install it, or use torchrun without hosts.');
  return hostCommands(folder, hosts, mesh, newMeeting()).map(({ host, command }) =>
    startHere(folder, log, [ssh, ...sshWords, host, command]),
  );
}

/**
 * With a terminal of its own, the host's launcher is hung up on if the connection is lost: its ranks save their work and end, and do not meet
 * those of a later sitting. A host that is silent for two minutes is given up, as one without power is. Without ssh's words of how a
 * connection ended, the last line of the log is the launcher's.
 */
const sshWords = ['-tt', '-oBatchMode=yes', '-oLogLevel=ERROR', '-oServerAliveInterval=30', '-oServerAliveCountMax=4'];

/** What is run on each host, with its part of the ranks; all see the run's folder under the same path. */
export function hostCommands(
  folder: string,
  hosts: readonly string[],
  mesh: Mesh,
  { id, port }: Meeting,
): readonly { readonly host: string; readonly command: string }[] {
  const meeting = [`--nodes=${hosts.length}`, `--endpoint=${hosts[0]!}:${port}`, `--id=${id}`];
  const words = launcherWords(folder, ranksOf(mesh) / hosts.length, meeting);
  const command = `exec env PYTHONPATH=${quotedPythonPath(folder)} python3 ${words.map(quoted).join(' ')}`;
  // The login shell of a host may be none that knows these words.
  return hosts.map((host) => ({ host, command: `sh -c ${quoted(command)}` }));
}

const launcherWords = (folder: string, ranks: number, meeting: readonly string[]): string[] => [
  '-m',
  packageName,
  path.dirname(folder),
  `--ranks=${ranks}`,
  ...meeting,
];

/** A process that outlives this one, so that a run can be found again; its output goes to the job's log. */
function startHere(folder: string, log: string, [program, ...words]: readonly string[]): ProcessIdentity {
  const output = openForWriting(path.join(folder, log), 'a');
  try {
    const child = spawn(program!, words, {
      cwd: folder,
      detached: true,
      stdio: ['ignore', output, output],
      env: { ...process.env, PYTHONPATH: pythonPath(folder), PYTHONUNBUFFERED: '1' },
    });
    if (child.pid === undefined) throw userError('not-found', `${program} cannot be started.`);
    // It may end at once; who follows it reads why in its log.
    child.on('error', () => {});
    child.unref();
    return identityOf(child.pid);
  } finally {
    closeSync(output);
  }
}
