/** Commands whose streams close, fill up or whose terminal goes away, and signals at any moment. */
import { closeSync, existsSync, openSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { ChildProcess } from 'node:child_process';
import type { Random } from '../../../backend/decoding/sampling/random.ts';
import { judge, leftovers } from '../judge.ts';
import { shippedModel, smallTuning, textFolder, wordsOf } from '../material.ts';
import { runProgram, type Ended } from '../program.ts';
import { alone, failed, pick, skipped, type Kind, type Verdict } from '../trial.ts';

const progressLeaves = 'the reader of its progress leaves';

/** What is done to a running child; at random times of the first seconds. */
const disturbances: Readonly<Record<string, (child: ChildProcess, random: Random) => Promise<void>>> = {
  'Ctrl-C': (child, random) => signals(child, random, ['SIGINT']),
  'Ctrl-C twice': (child, random) => signals(child, random, ['SIGINT', 'SIGINT']),
  'Ctrl-C five times': (child, random) => signals(child, random, Array<NodeJS.Signals>(5).fill('SIGINT')),
  SIGTERM: (child, random) => signals(child, random, ['SIGTERM']),
  SIGHUP: (child, random) => signals(child, random, ['SIGHUP']),
  'the reader of its output leaves': async (child) => {
    await new Promise((resolve) => child.stdout!.once('data', resolve).once('close', resolve));
    child.stdout!.destroy();
  },
  [progressLeaves]: async (child, random) => {
    await wait(3000 * random());
    child.stderr!.destroy();
  },
};
const full = 'its output is full';
const deadly: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];

export const streams: Kind = {
  name: 'streams',
  tries: 'generate and tune with Ctrl-C once and more, SIGTERM, SIGHUP, readers that leave, a full output',
  promise: 'an orderly end, never a native abort; nothing half-written stays',
  attempts: 120,
  inTests: 1,
  lanes: 2,
  open: ({ program, folder: material }) => {
    const text = path.join(textFolder(material), '*.ts');
    return Promise.resolve(
      alone(async ({ random, folder }) => {
        const command = pick(random, ['generate', 'generate', 'tune'] as const);
        const what = pick(random, [...Object.keys(disturbances), full]);
        if (what === full && !existsSync('/dev/full')) return skipped('there is no /dev/full');
        const out = path.join(folder, 'out.exits');
        const words = {
          generate: wordsOf({
            model: shippedModel,
            prompt: 'function add(',
            maxTokens: 400,
            threads: 1,
            device: 'cpu',
          }),
          tune: wordsOf({
            ...smallTuning,
            model: shippedModel,
            data: text,
            out,
            ...(random() < 0.5 && { json: true }),
          }),
        }[command];
        const stdout = what === full ? openSync('/dev/full', 'w') : undefined;
        const ended = await runProgram(program, [command, ...words], {
          cwd: folder,
          ...(stdout !== undefined && { stdout }),
          disturb: (child) => void disturbances[what]?.(child, random),
        });
        if (stdout !== undefined) closeSync(stdout);
        const verdict = judgeDisturbed(what, ended);
        if (verdict.verdict === 'failed') return failed(`${command}, ${what}: ${verdict.why}`);
        const left = leftovers(folder);
        return left.length ? failed(`${command}, ${what}: it left ${left.join(', ')}`) : verdict;
      }),
    );
  },
};

function judgeDisturbed(what: string, ended: Ended): Verdict {
  if (what === full) return judge(ended, [1]);
  // Nobody hears its error.
  if (what === progressLeaves) return judge(ended.code === 1 ? { ...ended, code: 0 } : ended, [0, 130]);
  // Node gives signals their own effect before a program begins and after it has ended; and Ctrl-C again ends at once.
  const isOver =
    ended.err === '' || /Stopping|tokens\/s\b.*\n$/.test(ended.err) || /^Exits in |"type":"tuned"/m.test(ended.out);
  if (ended.signal !== null && isOver && deadly.includes(ended.signal))
    return judge({ ...ended, signal: null, code: 130 });
  return judge(ended, [0, 130]);
}

async function signals(child: ChildProcess, random: Random, names: readonly NodeJS.Signals[]): Promise<void> {
  for (const name of names) {
    await wait((names.length > 2 ? 300 : 2500) * random());
    child.kill(name);
  }
}
