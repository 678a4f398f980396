/** One server that answers thousands of small requests, one after the other in several lanes: its memory stays where it is. */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import type { Random } from '../../../backend/decoding/sampling/random.ts';
import { ask, startServing, stopServing, type Question } from '../http-client.ts';
import { shippedModel, wordsOf } from '../material.ts';
import { memoryOf } from '../program.ts';
import { below, failed, held, pick, type Kind } from '../trial.ts';

const [requests, lanes] = [250, 4];
/** Attempts after which the server has all that it needs. */
const warm = 8;
/** How far it may grow from there. */
const share = 1.05;
const words = 'function add const export class return import value items for if while async type x y'.split(' ');

/** Prompts of many lengths, so that passes have many shapes. */
const question = (random: Random): Question => {
  const prompt = Array.from({ length: 1 + below(random, 24) }, () => pick(random, words)).join(' ');
  const temperature = pick(random, [0, 0, 0.8]);
  const body = {
    prompt,
    max_tokens: 1 + below(random, 6),
    temperature,
    seed: below(random, 1000),
    stream: random() < 0.3,
  };
  return { path: '/v1/completions', body: JSON.stringify(body) };
};

export const servedSoak: Kind = {
  name: 'served',
  tries: `${requests} small requests at a time to one server, prompts of many lengths, greedy, sampled and as streams`,
  promise: `resident memory grows by less than ${Math.round(100 * (share - 1))} % after the first ${warm * requests} requests`,
  attempts: 20,
  inTests: 0,
  lanes: 1,
  async open({ program, folder: material }) {
    const home = path.join(material, `soak-${process.pid}`);
    mkdirSync(home, { recursive: true });
    const server = await startServing(
      program,
      wordsOf({ model: shippedModel, device: 'cpu', threads: 1 }),
      home,
      'key',
    );
    let [done, settled] = [0, 0];
    return {
      async attempt({ random }) {
        const left = Array.from({ length: requests }, () => question(random)).values();
        const refused: string[] = [];
        const work = async (): Promise<void> => {
          for (const each of left) {
            const { status, text } = await ask(server, each);
            if (status !== 200) refused.push(`status ${status}: ${text.slice(0, 300)}`);
          }
        };
        await Promise.all(Array.from({ length: lanes }, work));
        if (refused.length > 0) return failed(refused[0]!);
        done++;
        const resident = memoryOf(server.child.pid!, 'VmRSS');
        if (done <= warm) settled = Math.max(settled, resident);
        const megabytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MB`;
        return resident <= share * settled
          ? held
          : failed(
              `after ${done * requests} requests it has ${megabytes(resident)}, after ${warm * requests} at most ${megabytes(settled)}`,
            );
      },
      close: async () => void (await stopServing(server)),
    };
  },
};
