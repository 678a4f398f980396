/** Largest resident memory of `early-exit tune`, on some data and on four times as much. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { freshFolder, runProgram, type Watched } from '../children.ts';
import { bigModel, shippedModel, typescriptText } from '../material.ts';
import { measurement } from '../measure.ts';
import { figures, type Goal } from '../report.ts';
import type { Section } from './section.ts';

/** Characters of the small data. */
const characters = 60_000;
interface Case {
  readonly name: string;
  readonly times: number;
  readonly flags: string;
}

const wholeEpoch = '--epochs 1 --preset quick --evaluation-tokens 2048 --evaluate-every 1000';
/** Three updates: the memory of a step does not grow with their number. */
const threeSteps = '--exits 8:mlp,16:mlp,24:mlp --head own --steps 3 --fit-tokens 8192 --evaluation-tokens 2048';

const cases: readonly Case[] = [
  { name: 'default exits', times: 1, flags: wholeEpoch },
  { name: 'default exits', times: 4, flags: wholeEpoch },
  { name: '`mlp` exits with own full heads', times: 1, flags: threeSteps },
];

export const memorySection: Section = {
  title: 'Memory of tuning',
  takes: 'about eight minutes; each run once, since memory does not vary with the clock',
  each: 'once',
  async run({ threads }) {
    const big = bigModel();
    const model = big ?? shippedModel;
    const folder = freshFolder('memory');
    const peaks: { case: Case; watched: Watched }[] = [];
    for (const [i, one] of cases.entries()) {
      // The layers of the last case are those of a model with 30.
      if (big === null && one.flags.includes('--exits')) continue;
      console.error(`  ${one.name}, ${one.times} × ${characters} characters`);
      const data = path.join(folder, `data-${i}.jsonl`);
      writeFileSync(data, documentsOf(one.times * characters));
      const out = path.join(folder, `${i}.exits`);
      const where = ['--model', model, '--data', data, '--out', out, '--threads', `${threads}`];
      // States and tokens that an earlier run left would not be computed.
      freshFolder('user-cache');
      const watched = await runProgram(['tune', ...where, ...one.flags.split(' ')]);
      console.error(`  peak ${figures((watched.peak ?? NaN) / 1e9)} GB`);
      peaks.push({ case: one, watched });
    }
    const gigabytes = ({ watched }: (typeof peaks)[number]): number => (watched.peak ?? NaN) / 1e9;
    const [small, large] = peaks;
    const goals: Goal[] = [
      ...peaks.map((peak): Goal => ({
        what: `peak memory of tuning, ${peak.case.name}, ${peak.case.times} × the data`,
        value: gigabytes(peak),
        unit: ' GB',
        bound: 'at most',
        limit: 3,
      })),
      {
        what: 'peak memory with four times the data ÷ with the data',
        value: gigabytes(large!) / gigabytes(small!),
        unit: '×',
        bound: 'at most',
        limit: 1.1,
      },
    ];
    return {
      goals: peaks.every(({ watched }) => watched.peak !== null) ? goals : [],
      tables: [
        {
          caption: `${path.basename(model)}: \`early-exit tune\`, whole runs with fit and evaluations`,
          columns: ['exits', 'characters of text', 'peak, GB', 's'],
          rows: peaks.map((peak) => [
            peak.case.name,
            `${peak.case.times * characters}`,
            figures(gigabytes(peak)),
            figures(peak.watched.seconds),
          ]),
        },
      ],
      notes: ['The largest resident set that the kernel recorded (VmHWM), of the whole process.'],
      measurements: peaks.map(({ case: { name, times }, watched }) =>
        measurement(`tune ${name}, ${times} × the data`, [watched.seconds]),
      ),
    };
  },
};

/** Lines {"text"} with this number of characters of text, each document once. */
function documentsOf(wanted: number): string {
  const lines: string[] = [];
  let left = wanted;
  for (const text of typescriptText('train').documents) {
    if (left <= 0) break;
    const piece = text.slice(0, left);
    lines.push(JSON.stringify({ text: piece }));
    left -= piece.length;
  }
  return `${lines.join('\n')}\n`;
}
