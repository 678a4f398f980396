/** `npm run trial [-- --only KIND … --seed N --minutes N --attempts N --attempt N]`: tries to break the program, and writes docs/reliability.md. */
import { rmSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { kinds } from './kinds.ts';
import { builtProgram, root } from './program.ts';
import { docs, recordOf, writeReliability } from './report.ts';
import { tryKind } from './runner.ts';

const usage = `npm run trial [-- --only KIND] [--seed N] [--minutes N] [--attempts N] [--attempt N] [--draft]

Tries to break the program in these ways (all, where none is named):
${kinds.map(({ name, tries, attempts }) => `  ${name.padEnd(13)} ${String(attempts).padStart(5)}  ${tries}`).join('\n')}

  --only KIND    only these; may be repeated
  --seed N       of everything random; 1 by default
  --minutes N    begins nothing after so many minutes; 60 by default
  --attempts N   of each kind so many, instead of those above
  --attempt N    of one kind only this attempt, as a failure names it
  --draft        writes what it finds to .cache/trial instead of docs

What is found, but of a single attempt, goes into docs/reliability.md; what failed is kept in .cache/trial/failed.
`;

const { values } = parseArgs({
  options: {
    only: { type: 'string', multiple: true, default: [] },
    seed: { type: 'string', default: '1' },
    minutes: { type: 'string', default: '60' },
    attempts: { type: 'string' },
    attempt: { type: 'string' },
    draft: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
});
const [seed, minutes] = [Number(values.seed), Number(values.minutes)];
const attempts = values.attempts === undefined ? null : Number(values.attempts);
const attempt = values.attempt === undefined ? null : Number(values.attempt);
const unknown = values.only.find((name) => kinds.every((kind) => kind.name !== name));
if (values.help) console.log(usage);
else if (unknown !== undefined) refuse(`There is no kind "${unknown}".`);
else if (!Number.isInteger(seed) || seed < 0) refuse('--seed must be a whole number from 0.');
else if (!(minutes > 0)) refuse('--minutes must be a number above 0.');
else if (attempts !== null && !(Number.isInteger(attempts) && attempts > 0))
  refuse('--attempts must be a whole number above 0.');
else if (attempt !== null && !(Number.isInteger(attempt) && attempt >= 0))
  refuse('--attempt must be a whole number from 0.');
else if (attempt !== null && values.only.length !== 1) refuse('--attempt needs --only with one kind.');
else await tryAll();

async function tryAll(): Promise<void> {
  const cache = path.join(root, '.cache/trial');
  for (const folder of ['material', 'work', ...(attempt === null ? ['failed'] : [])])
    rmSync(path.join(cache, folder), { recursive: true, force: true });
  const deadline = Date.now() + 60_000 * minutes;
  const chosen = values.only.length ? kinds.filter(({ name }) => values.only.includes(name)) : kinds;
  const order = kinds.map(({ name }) => name);
  let failures = 0;
  for (const one of chosen) {
    const kind = attempts === null ? one : { ...one, attempts };
    const indices = attempt === null ? [...Array(kind.attempts).keys()] : [attempt];
    const tried = await tryKind(kind, {
      program: builtProgram,
      cache,
      seed,
      deadline,
      indices,
      onFailure: ({ index, why }) =>
        console.error(
          `  failed: --only ${kind.name} --seed ${seed} --attempt ${index}\n    ${why.slice(0, 1500).replaceAll('\n', '\n    ')}`,
        ),
    });
    const skips = Object.values(tried.skipped).reduce((sum, count) => sum + count, 0);
    console.error(
      `${kind.name}: ${tried.held} held, ${tried.failures.length} failed, ${skips} skipped of ${indices.length} in ${tried.seconds.toFixed(0)} s`,
    );
    for (const [why, count] of Object.entries(tried.skipped)) console.error(`  ${count} skipped: ${why}`);
    failures += tried.failures.length;
    if (attempt === null) await writeReliability(values.draft ? cache : docs, recordOf(kind, seed, tried), order);
  }
  process.exitCode = failures > 0 ? 1 : 0;
}

function refuse(sentence: string): void {
  console.error(`${sentence} See npm run trial -- --help.`);
  process.exitCode = 2;
}
