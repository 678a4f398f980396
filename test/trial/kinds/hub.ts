/** A hub on this machine that lies, stalls and sends elsewhere. */
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { judge } from '../judge.ts';
import { openHub, misdeeds, type Misdeed } from '../hostile-hub.ts';
import { modelFolder, wordsOf } from '../material.ts';
import { runProgram, type Program } from '../program.ts';
import { alone, failed, held, type Attempt, type Kind, type Verdict } from '../trial.ts';

export const hub: Kind = {
  name: 'hub',
  tries:
    'a hub that pages for ever, sends other bytes, redirects, breaks off, answers with control characters or slowly',
  promise:
    'refused with a sentence, or downloaded whole; the token goes to no other host; no file outside the cache, none half-written',
  attempts: 2 * misdeeds.length,
  inTests: 1,
  lanes: 2,
  open: ({ program, folder }) =>
    Promise.resolve(alone((attempt) => download(attempt, misdeeds[attempt.index % misdeeds.length]!, program, folder))),
};

async function download(
  { folder, random }: Attempt,
  misdeed: Misdeed,
  program: Program,
  material: string,
): Promise<Verdict> {
  const server = await openHub(misdeed, modelFolder(material, 'qwen3'), random);
  try {
    const env = {
      HF_ENDPOINT: server.endpoint,
      HF_TOKEN: 'hf_secretoftrial',
      EARLY_EXIT_CACHE: path.join(folder, 'cache'),
    };
    const words = [
      'generate',
      ...wordsOf({ model: 'owner/name', prompt: 'let', maxTokens: 2, device: 'cpu', threads: 1 }),
    ];
    const run = (): ReturnType<typeof runProgram> =>
      runProgram(program, words, {
        cwd: folder,
        env,
        disturb: (child) => {
          if (misdeed.impatient) setTimeout(() => child.kill('SIGINT'), 4000);
        },
      });
    const all = await Promise.all(Array.from({ length: misdeed.together ?? 1 }, run));
    for (const ended of all) {
      const verdict = judge(ended, misdeed.codes);
      if (verdict.verdict === 'failed') return failed(`${misdeed.name}: ${verdict.why}`);
      if (/hf_secret/.test(ended.err + ended.out)) return failed(`${misdeed.name}: it shows the token`);
    }
    if (server.leaked()) return failed(`${misdeed.name}: the token went to another host`);
    return judgeFiles(folder, misdeed);
  } finally {
    await server.close();
  }
}

/** A refused model is not there as a whole one; whatever the hub called its files, they are below the cache. */
function judgeFiles(folder: string, { name, codes }: Misdeed): Verdict {
  const outside = readdirSync(folder).filter((entry) => !['cache', '.early-exit-cache'].includes(entry));
  if (outside.length) return failed(`${name}: ${outside.join(', ')} lies outside the cache`);
  const models = path.join(folder, 'cache/models');
  const files = existsSync(models) ? readdirSync(models, { recursive: true, encoding: 'utf8' }) : [];
  const whole = files.some((file) => file.includes('refs') && file.endsWith('.json'));
  if (!codes.includes(0) && whole) return failed(`${name}: the model counts as downloaded`);
  const parts = files.filter((file) => file.endsWith('.partial'));
  return whole && parts.length ? failed(`${name}: ${parts.join(', ')} stays beside the whole model`) : held;
}
