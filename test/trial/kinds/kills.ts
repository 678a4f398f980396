/** `tune` killed with SIGKILL at any moment, up to three times, and taken up again: it ends with the bytes of a run that was not. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { judge, leftovers } from '../judge.ts';
import { differences, makeShippedExits, shippedTuning } from '../material.ts';
import { runProgram, type Program } from '../program.ts';
import { below, failed, held, type Attempt, type Kind, type Verdict } from '../trial.ts';

const mostKills = 3;

export const kills: Kind = {
  name: 'kills',
  tries: 'tune on the model that ships, killed with SIGKILL one to three times at random moments, and resumed',
  promise: 'exits and metrics are the bytes of a run that was not killed; nothing half-written stays',
  attempts: 50,
  // test/parity/resume-recipe.test.ts kills a run again and again.
  inTests: 0,
  lanes: 2,
  async open({ program, folder }) {
    const seconds = await makeShippedExits(folder, program);
    return { attempt: (attempt) => killAndResume(attempt, program, folder, seconds), close: async () => {} };
  },
};

/** `seconds`: what a whole run takes; a kill falls somewhere in them. */
async function killAndResume(
  { folder, random }: Attempt,
  program: Program,
  material: string,
  seconds: number,
): Promise<Verdict> {
  const out = path.join(folder, 'killed.exits');
  const isBegun = (): boolean => existsSync(path.join(out, 'exits.json'));
  const words = (): string[] => shippedTuning(material, out, isBegun());
  for (let kill = 1 + below(random, mostKills); kill > 0; kill--) {
    const moment = 1000 * seconds * random();
    const ended = await runProgram(program, words(), {
      cwd: folder,
      disturb: (child) => void wait(moment).then(() => child.kill('SIGKILL')),
    });
    // The kill came too late: taken up again, the run would go on beyond its end.
    if (isBegun() && differences(out, material).length === 0) return held;
    if (ended.signal !== 'SIGKILL') return ended.code === 0 ? failed(differs) : judge(ended, [0]);
  }
  const verdict = judge(await runProgram(program, words(), { cwd: folder }), [0]);
  if (verdict.verdict !== 'held') return verdict;
  if (differences(out, material).length > 0) return failed(differs);
  const left = leftovers(folder);
  return left.length ? failed(`it left ${left.join(', ')}`) : held;
}

const differs = 'exits or metrics differ from those of a run that was not killed';
