/** One process that generates batch after batch in every mode: its memory stays where it is. */
import path from 'node:path';
import { problemOfUnshown } from '../judge.ts';
import { makeShippedExits, shippedExits, shippedModel } from '../material.ts';
import { openRecipeHost } from '../recipe-pool.ts';
import { failed, held, pick, type Kind } from '../trial.ts';

const [batch, length] = [8, 100];
/** Attempts after which the process has all that it needs. */
const warm = 6;
/** How far it may grow from there. */
const [share, bytes] = [1.15, 48 * 2 ** 20];
const prompts = ['function add(', 'const x =', 'import {', 'export class', 'if (', '/** The', 'for (const', 'return'];

export const soak: Kind = {
  name: 'soak',
  tries: `batches of ${batch} × ${length} tokens in one process, in every mode, greedy and sampled: 20,000 tokens and more`,
  promise: `resident memory grows by less than ${Math.round(100 * (share - 1))} % and ${bytes / 2 ** 20} MB after the first ${warm} batches`,
  attempts: 32,
  inTests: 1,
  lanes: 1,
  async open({ program, folder }) {
    await makeShippedExits(folder, program);
    const cache = path.join(folder, 'soak-cache');
    const host = openRecipeHost(program, cache, { seconds: 300, bytes: 2 ** 30, resident: Infinity });
    let [done, settled] = [0, 0];
    return {
      async attempt({ random }) {
        const options = {
          model: shippedModel,
          exits: shippedExits(folder),
          prompt: Array.from({ length: batch }, () => pick(random, prompts)),
          maxTokens: length,
          mode: pick(random, ['fast', 'lossless', 'full']),
          threshold: '0.6',
          temperature: pick(random, [0, 0.8]),
          seed: Math.floor(1000 * random()),
          device: 'cpu',
        };
        let tokens = 0;
        let resident = 0;
        // A text may end early: it is begun again.
        while (tokens < batch * length) {
          const performed = await host.perform({
            recipe: 'generate',
            options: { ...options, seed: options.seed + tokens },
          });
          const { outcome } = performed;
          if (outcome.type !== 'done')
            return failed(
              outcome.type === 'broke' ? outcome.message : (problemOfUnshown(outcome.message) ?? outcome.message),
            );
          if (outcome.tokens === 0) return failed('no token was generated');
          tokens += outcome.tokens;
          ({ resident } = performed);
        }
        done++;
        if (done <= warm) settled = Math.max(settled, resident);
        const allowed = share * settled + bytes;
        return resident <= allowed
          ? held
          : failed(
              `after ${done} batches it has ${(resident / 2 ** 20).toFixed(0)} MB, after ${warm} it had ${(settled / 2 ** 20).toFixed(0)} MB`,
            );
      },
      close: () => host.close(),
    };
  },
};
