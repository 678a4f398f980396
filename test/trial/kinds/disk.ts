/** `tune` on a disk that gets full at any point; with room again it goes on to the bytes of a run that always had it. */
import { existsSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import type { Random } from '../../../backend/decoding/sampling/random.ts';
import { judge, leftovers } from '../judge.ts';
import { differences, makeShippedExits, shippedTuning } from '../material.ts';
import { mountMemory, noMount } from '../mounts.ts';
import { runProgram, type Program, type Start } from '../program.ts';
import { failed, held, skipped, type Attempt, type Kind, type Verdict } from '../trial.ts';

/** More than a whole run writes, its cache of hidden states included. */
const enoughBytes = 24 * 2 ** 20;
const blockBytes = 512;

export const disk: Kind = {
  name: 'disk',
  tries: 'tune on a full disk: a small file system of its own, or a limit on the size of files (ulimit -f)',
  promise:
    'refused with a sentence, or run to its end; nothing half-written stays; with room again it ends with the same bytes',
  attempts: 24,
  inTests: 1,
  lanes: 2,
  async open({ program, folder }) {
    await makeShippedExits(folder, program);
    const attempt = (attempt: Attempt): Promise<Verdict> =>
      attempt.index % 2 ? onSmallDisk(attempt, program, folder) : withLimit(attempt, program, folder);
    return { attempt, close: async () => {} };
  },
};

async function onSmallDisk({ folder, random }: Attempt, program: Program, material: string): Promise<Verdict> {
  const place = path.join(folder, 'disk');
  const mount = mountMemory(place, `size=${someBytes(random)}`);
  if (!mount) return skipped(noMount);
  try {
    return await fill(program, material, place, {}, () => mount.again('size=1g'));
  } finally {
    mount.unmount();
  }
}

async function withLimit({ folder, random }: Attempt, program: Program, material: string): Promise<Verdict> {
  if (process.platform === 'win32') return skipped('Windows has no limit on the size of files');
  const place = path.join(folder, 'limited');
  mkdirSync(place);
  const blocks = Math.ceil(someBytes(random) / 4 / blockBytes);
  return fill(program, material, place, { through: ['sh', '-c', `ulimit -f ${blocks} && exec "$@"`, 'sh'] }, () => {});
}

/** Any size is as likely as its double. */
const someBytes = (random: Random): number => Math.ceil(4096 * (enoughBytes / 4096) ** random());

async function fill(
  program: Program,
  material: string,
  place: string,
  start: Partial<Start>,
  makeRoom: () => void,
): Promise<Verdict> {
  const out = path.join(place, 'my.exits');
  const env = { EARLY_EXIT_CACHE: path.join(place, 'cache') };
  const ended = await runProgram(program, shippedTuning(material, out), { cwd: place, env, ...start });
  const first = judge(ended, [0, 1]);
  if (first.verdict !== 'held') return first;
  const left = leftovers(place);
  if (left.length) return failed(`it left ${left.join(', ')}`);
  makeRoom();
  if (ended.code !== 0) {
    const goesOn = existsSync(path.join(out, 'exits.json'));
    const words = shippedTuning(material, out, goesOn);
    const second = judge(await runProgram(program, words, { cwd: place, env }), [0]);
    if (second.verdict === 'failed') return failed(`with room again: ${second.why}`);
  }
  const different = differences(out, material);
  return different.length ? failed(`with room again ${different.join(' and ')} differ`) : held;
}
