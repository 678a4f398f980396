/** What opening a model takes, beside llama.cpp: time, and memory once it has decoded; and `generate` of one token as a whole process. */
import path from 'node:path';
import { loadTokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import { openModel } from '../../../backend/model/open.ts';
import { runProgram } from '../children.ts';
import type { Child } from '../contestants/child.ts';
import { installLlama, llamaChild, llamaVersion } from '../contestants/llama.ts';
import { ourChild } from '../contestants/our-process.ts';
import { alternate, type Contestant, type Measurement } from '../measure.ts';
import { promptOf } from '../prompts.ts';
import { both, figures, type Findings, type Goal } from '../report.ts';
import { isBillions, progress, type BenchOptions, type Section } from './section.ts';

export const openingSection: Section = {
  title: 'Opening and memory',
  takes: 'about two minutes a model',
  clocks: true,
  each: 'model',
  run: async (options, file) => ({
    ...(await measureModel(file, options)),
    notes: [
      `Opening: from the model's path to being able to decode, with its tokenizer, in a process that has loaded its JavaScript; the file lies in the system's cache. llama.cpp is node-llama-cpp ${llamaVersion}, for a context of ${contextSize}.`,
      `Resident memory: of that process, after a prompt of ${promptTokens} tokens and ${newTokens} more.`,
      "`generate` of one token: the whole process of the built command line, from its start to its end; the peak is the kernel's mark (VmHWM).",
    ],
  }),
};

const promptTokens = 64;
const newTokens = 16;
const contextSize = 512;

async function measureModel(file: string, { rounds, threads, clock }: BenchOptions): Promise<Findings> {
  const model = openModel(file);
  model.close();
  const prompt = promptOf(loadTokenizer(file), promptTokens, 0);
  const contestant = (
    name: string,
    start: () => Child | Promise<Child>,
    open: Readonly<Record<string, unknown>>,
  ): Contestant => ({
    name,
    async turn() {
      const child = await start();
      try {
        const seconds = await child.ask({ type: 'open', model: path.resolve(file), threads, ...open });
        await child.ask({ type: 'start', prompts: [prompt] });
        await child.ask({ type: 'pull', count: newTokens });
        return { [name]: seconds, [bytesOf(name)]: await child.ask({ type: 'memory' }) };
      } finally {
        await child.end();
      }
    },
  });
  const whole = 'generate of one token';
  const peakName = `${whole}, peak bytes`;
  const isBeside = file.endsWith('.gguf') && (await installLlama());
  const contestants = [
    contestant('ours', () => ourChild(clock), { exits: [] }),
    ...(isBeside ? [contestant('llama.cpp', () => llamaChild(clock), { contextSize })] : []),
    {
      name: whole,
      async turn() {
        const args = ['generate', '--model', path.resolve(file), '--prompt', 'const a =', '--max-tokens', '1'];
        const { seconds, processor, peak } = await runProgram([...args, '--threads', `${threads}`]);
        const taken = clock === 'processor' ? processor! : seconds;
        return { [whole]: taken, ...(peak !== null && { [peakName]: peak }) };
      },
    },
  ];
  const measured = await alternate(contestants, rounds, progress(`${model.name}, opening`, rounds));
  const peak = measured.get(peakName);
  const [ours, theirs] = [measured.get('ours')!, measured.get('llama.cpp')];
  const [own, other] = [measured.get(bytesOf('ours'))!, measured.get(bytesOf('llama.cpp'))];
  const goals: Goal[] = [];
  const goal = (what: string, value: number, unit: string, limit: number, reach: number): void =>
    void goals.push({ what: `${what}, ${model.name}`, value, unit, bound: 'at most', limit, reach });
  if (theirs && other) {
    goal("opening ÷ llama.cpp's", ours.median / theirs.median, '×', 0.5, 0.3);
    goal("resident memory ÷ llama.cpp's", own.median / other.median, '×', 0.75, 0.6);
  }
  const process = measured.get(whole)!;
  if (isBillions(model)) {
    goal('`generate` of one token, whole process', process.median, ' s', 5, 3);
    if (peak) goal('`generate` of one token, peak memory', peak.median / 1e9, ' GB', 1.6, 1.4);
  }
  const row = (what: string, mine: Measurement, their: Measurement | undefined, per: number): string[] => [
    what,
    of(mine, per),
    their ? of(their, per) : '',
    their ? figures(mine.median / their.median) : '',
  ];
  return {
    goals,
    tables: [
      {
        caption: `${model.name}: opening`,
        columns: ['', 'ours', 'llama.cpp', 'ours ÷ llama.cpp'],
        rows: [
          row('opening, s', ours, theirs, 1),
          row('resident memory, MB', own, other, 1e6),
          row('`generate` of one token, s', process, undefined, 1),
          ...(peak ? [row('`generate` of one token, peak MB', peak, undefined, 1e6)] : []),
        ],
      },
    ],
    notes: [],
    measurements: [...measured.values()].map((one) => ({
      ...one,
      name: `${model.name}: ${one.name}`,
    })),
  };
}

/** The name of a contestant's memory beside its time. */
const bytesOf = (name: string): string => `${name}, bytes`;

const of = ({ median, minimum }: Measurement, per: number): string =>
  both({ median: median / per, minimum: minimum / per });
