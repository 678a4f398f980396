/** What others put where our own state is: whom the program would signal, whom it would ask, what it makes of nonsense; and who may read what it writes. */
import { spawn, type ChildProcess } from 'node:child_process';
import { lstatSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { identityOf, isRunning, type ProcessIdentity } from '../../../backend/system/processes.ts';
import { judge } from '../judge.ts';
import { shippedTuning, wordsOf } from '../material.ts';
import { runProgram, type Ended, type Program } from '../program.ts';
import { alone, failed, skipped, type Kind, type Verdict } from '../trial.ts';

/** One Ctrl-C ends a command that follows a job in five seconds; starting it takes one or two more on a busy machine. */
const patienceSeconds = 5;
const startSeconds = 3;

interface Scene {
  readonly what: string;
  /** `running.json`, in a place where another process runs and a server listens that never answers. */
  readonly running: (bystander: ProcessIdentity, silent: string) => unknown;
  /** `events.jsonl`. */
  readonly events?: string;
  /** Where the user says that the job runs; torchrun where it is left out. */
  readonly on?: (silent: string) => string;
  /** Whether the job is followed until Ctrl-C. */
  readonly isFollowed?: true;
}

const processes = (...all: readonly unknown[]): unknown => ({ kind: 'processes', processes: all });
const rayAt = (url: string): unknown => ({ kind: 'ray', url, id: 'raysubmit_x' });

/** No number that another program's process may have: a program that fails here must do no harm. Unit tests try those. */
const nonsense: readonly unknown[] = [
  ...[null, [], {}, 'text', 7, { kind: 'toString' }, { kind: 'processes' }, { kind: 'ray' }, processes(null)],
  ...[1.5, '17', null].map((pid) => processes({ pid, started: null })),
];

const events = ['evaluation', 'step', 'finished', 'failed', 'phase', 'progress', 'warning'].map((type) =>
  JSON.stringify({ type }),
);

const scenes: readonly Scene[] = [
  ...nonsense.map((value) => ({ what: `running.json of ${JSON.stringify(value)}`, running: () => value })),
  { what: 'a number that another process has by now', running: ({ pid }) => processes({ pid, started: 'long ago 1' }) },
  { what: 'a number alone', running: ({ pid }) => processes({ pid, started: null }), isFollowed: true },
  { what: 'a number in the form of an earlier version', running: ({ pid }) => ({ kind: 'processes', pids: [pid] }) },
  ...events.map((line) => ({
    what: `a line of ${line}`,
    running: (one: ProcessIdentity) => processes(one),
    events: `${line}\n`,
  })),
  { what: 'a cluster that the user does not name', running: (_, silent) => rayAt(silent) },
  {
    what: 'a cluster that does not answer',
    running: (_, silent) => rayAt(silent),
    on: (silent) => `ray:${silent}`,
    isFollowed: true,
  },
];

const access = ['tune', 'generate'] as const;

export const handles: Kind = {
  name: 'handles',
  tries:
    'folders of cluster runs that name processes and clusters of others, or nonsense; modes of all that is written',
  promise:
    'nobody else is signalled or asked; a sentence; Ctrl-C ends the command in 5 s; 0600 and 0700 below cache and run',
  attempts: scenes.length + access.length,
  inTests: 2,
  lanes: 2,
  open: ({ program, folder: material }) =>
    Promise.resolve(
      alone(async ({ index, folder }) => {
        if (process.platform === 'win32') return skipped('Windows has neither these signals nor these modes');
        const scene = scenes[index];
        if (!scene) return written(program, folder, material, access[index - scenes.length]!);
        const verdict = await resumed(program, folder, scene);
        return verdict.verdict === 'failed' ? failed(`${scene.what}: ${verdict.why}`) : verdict;
      }),
    ),
};

async function resumed(program: Program, folder: string, scene: Scene): Promise<Verdict> {
  const bystander = spawn('sleep', ['600'], { detached: true, stdio: 'ignore' });
  const connections: Socket[] = [];
  const server = createServer((socket) => void connections.push(socket.on('error', () => {})));
  try {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const silent = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const out = path.join(folder, 'run.exits');
    mkdirSync(path.join(out, 'distributed'), { recursive: true });
    const identity = identityOf(bystander.pid!);
    writeFileSync(path.join(out, 'distributed/running.json'), JSON.stringify(scene.running(identity, silent)));
    if (scene.events) writeFileSync(path.join(out, 'distributed/events.jsonl'), scene.events);
    const on = scene.on?.(silent) ?? 'torchrun';
    let requestedAt = 0;
    const interrupt = (child: ChildProcess): void =>
      void wait(1000 * startSeconds).then(() => {
        requestedAt = performance.now();
        child.kill('SIGINT');
      });
    const ended = await runProgram(program, ['tune', ...wordsOf({ resume: true, on, out })], {
      cwd: folder,
      ...(scene.isFollowed && { disturb: interrupt }),
    });
    const seconds = requestedAt ? (performance.now() - requestedAt) / 1000 : 0;
    if (!isRunning(identity)) return failed('it ended a process that it had not started');
    if (!scene.on && connections.length > 0) return failed('it asked a cluster that the user does not name');
    return judgeEnd(ended, scene, seconds);
  } finally {
    bystander.kill('SIGKILL');
    for (const socket of connections) socket.destroy();
    server.close();
  }
}

function judgeEnd(ended: Ended, { isFollowed }: Scene, seconds: number): Verdict {
  if (seconds > patienceSeconds) return failed(`it ended ${seconds.toFixed(1)} s after Ctrl-C`);
  return judge(ended, isFollowed ? [130] : [1, 2]);
}

/** Modes of everything that a command has made below its cache and its run. */
async function written(
  program: Program,
  folder: string,
  material: string,
  what: (typeof access)[number],
): Promise<Verdict> {
  const [cache, out] = [path.join(folder, 'made/cache'), path.join(folder, 'made/run.exits')];
  const generating = wordsOf({ prompt: 'let', maxTokens: 2, device: 'cpu' });
  const words = what === 'tune' ? shippedTuning(material, out) : ['generate', ...generating];
  const env = { EARLY_EXIT_CACHE: cache };
  const through = ['sh', '-c', 'umask 022 && exec "$@"', 'sh'];
  const verdict = judge(await runProgram(program, words, { cwd: folder, env, through }), [0]);
  if (verdict.verdict !== 'held') return verdict;
  const made = path.join(folder, 'made');
  const open = readdirSync(made, { recursive: true, encoding: 'utf8' }).filter((name) => {
    const found = lstatSync(path.join(made, name));
    return (found.mode & 0o777) !== (found.isDirectory() ? 0o700 : 0o600);
  });
  return open.length ? failed(`${what}: others may use ${open.join(', ')}`) : verdict;
}
