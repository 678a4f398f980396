/**
 * Runs the benchmarks and writes docs/results.json and the tables of docs/results.md.
 *
 *     npm run bench -- [--only decode,step,tuning,start] [--model FILE] [--rounds 7] [--threads 2]
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { benchDecode } from './decode.ts';
import type { Result } from './harness.ts';
import { machineName, withTables } from './report.ts';
import { benchStart } from './start.ts';
import { benchStep } from './step.ts';
import { benchTuning } from './tuning.ts';

export interface Setting {
  readonly root: string;
  readonly cache: string;
  /** Path of the model that is measured. */
  readonly model: string;
  readonly rounds: number;
  readonly threads: number;
  /** TypeScript to decode and tune on. */
  readonly text: string;
}

const benchmarks: Readonly<Record<string, (setting: Setting) => Promise<Result[]>>> = {
  decode: benchDecode,
  step: benchStep,
  tuning: benchTuning,
  start: benchStart,
};

const root = path.resolve(import.meta.dirname, '../..');
const results = path.join(root, 'docs/results.json');

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      model: { type: 'string' },
      rounds: { type: 'string', default: '7' },
      threads: { type: 'string', default: '2' },
    },
  });
  const models = process.env['EARLY_EXIT_MODELS'] ?? path.join(root, '../shared/models');
  const big = path.join(models, 'SmolLM2-135M-Instruct.Q4_1.gguf');
  const model = values.model ?? (existsSync(big) ? big : path.join(root, 'models/typescript-5m'));
  if (model !== big) console.error(`Measuring ${model}; the figures to hold are for SmolLM2-135M (EARLY_EXIT_MODELS).`);
  const setting: Setting = {
    root,
    cache: path.join(root, '.cache/bench'),
    model,
    rounds: Number(values.rounds),
    threads: Number(values.threads),
    text: projectText(),
  };
  mkdirSync(setting.cache, { recursive: true });
  const names = values.only?.split(',') ?? Object.keys(benchmarks);
  const measured: Result[] = [];
  for (const name of names) {
    const benchmark = benchmarks[name];
    if (!benchmark) throw new Error(`There is no benchmark ${name}; there are ${Object.keys(benchmarks).join(', ')}.`);
    for (const result of await benchmark(setting)) {
      measured.push(result);
      console.log(JSON.stringify(result, null, 2));
    }
  }
  write(measured);
}

/** Results of other benchmarks that an earlier run on the same machine wrote stay. */
function write(measured: readonly Result[]): void {
  const machine = machineName();
  const date = new Date().toISOString().slice(0, 10);
  const old = existsSync(results)
    ? (JSON.parse(readFileSync(results, 'utf8')) as { machine: string; results: Result[] })
    : null;
  const kept =
    old?.machine === machine
      ? old.results.filter(({ benchmark }) => !measured.some((each) => each.benchmark === benchmark))
      : [];
  const all = [...kept, ...measured];
  writeFileSync(results, `${JSON.stringify({ machine, date, results: all }, null, 2)}\n`);
  const page = path.join(root, 'docs/results.md');
  const before = existsSync(page) ? readFileSync(page, 'utf8') : '# Results\n';
  writeFileSync(page, withTables(before, all, machine, date));
}

/** The project's own sources, a few hundred thousand characters. */
function projectText(): string {
  return ['protocol', 'backend', 'extension', 'test/unit']
    .flatMap((folder) =>
      readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' }).map((file) =>
        path.join(root, folder, file),
      ),
    )
    .filter((file) => file.endsWith('.ts'))
    .sort()
    .map((file) => readFileSync(file, 'utf8'))
    .join('\n');
}

await main();
