/** A whole tuning run as a user starts it: the second epoch beside the first, and the largest memory at two sizes of data. */
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { TuneEvent } from '../../protocol/events.ts';
import type { Comparison, Figures, Result } from './harness.ts';
import type { Setting } from './main.ts';

/** Characters of the small data; the large is four times that. */
const CHARACTERS = 100_000;

interface Run {
  /** Seconds of each epoch's steps. */
  readonly epochs: readonly number[];
  /** Largest resident memory in gigabytes; null where the system does not tell. */
  readonly memory: number | null;
}

export async function benchTuning(setting: Setting): Promise<Result[]> {
  const small = await tune(setting, 'small', CHARACTERS);
  const large = await tune(setting, 'large', 4 * CHARACTERS);
  const [first, second] = small.epochs;
  const one = (name: string, value: number): Figures => ({ name, best: value, median: value, rounds: 1 });
  const ratio: Comparison[] =
    first && second ? [{ what: 'first ÷ second epoch', ratio: first / second, atLeast: 2 }] : [];
  const memory = [small, large].map(({ memory }) => memory);
  const epochs: Result = {
    benchmark: 'epochs',
    title: 'Tuning: an epoch through the backbone, and one from the feature cache',
    unit: 's',
    figures: small.epochs.map((seconds, epoch) => one(`epoch ${epoch + 1}`, seconds)),
    comparisons: ratio,
    notes: ['Default exits, evaluations left out.'],
  };
  if (memory[0] === null || memory[1] === null) return [epochs];
  const peak = Math.max(memory[0]!, memory[1]!);
  return [
    epochs,
    {
      benchmark: 'memory',
      title: 'Tuning: largest resident memory',
      unit: 'GB',
      figures: [one('data of 100,000 characters', memory[0]!), one('four times the data', memory[1]!)],
      comparisons: [{ what: '3 GB ÷ the larger', ratio: 3 / peak, atLeast: 1 }],
      notes: [],
    },
  ];
}

async function tune({ root, cache, model, text, threads }: Setting, name: string, characters: number): Promise<Run> {
  const folder = path.join(cache, 'tuning', name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(path.join(folder, 'data'), { recursive: true });
  const documents = Math.ceil(characters / 10_000);
  for (let i = 0; i < documents; i++) {
    writeFileSync(path.join(folder, 'data', `${i}.ts`), text.slice(10_000 * i, 10_000 * (i + 1)));
  }
  const words = [
    'tune',
    '--model',
    model,
    '--data',
    path.join(folder, 'data'),
    '--out',
    path.join(folder, 'out.exits'),
  ];
  const limits = ['--epochs', '2', '--fit-tokens', '4096', '--evaluate-every', '1000000', '--threads', String(threads)];
  const child = spawn(process.execPath, [path.join(root, 'dist/cli.js'), ...words, ...limits, '--json'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let memory: number | null = null;
  const watch = setInterval(() => (memory = peakMemory(child.pid!) ?? memory), 200);
  const epochs: number[] = [];
  let before: number | null = null;
  for await (const line of lines(child.stdout)) {
    const event = JSON.parse(line) as TuneEvent;
    if (event.type === 'ready') before = performance.now();
    if (event.type !== 'step') continue;
    const now = performance.now();
    // The first step of a run also builds what all steps use.
    if (before !== null && event.step > 1) epochs[event.epoch] = (epochs[event.epoch] ?? 0) + (now - before) / 1000;
    before = now;
  }
  clearInterval(watch);
  return { epochs, memory };
}

async function* lines(stream: AsyncIterable<Buffer>): AsyncGenerator<string> {
  let rest = '';
  for await (const chunk of stream) {
    const parts = (rest + chunk.toString('utf8')).split('\n');
    rest = parts.pop()!;
    yield* parts;
  }
}

/** Gigabytes, from Linux's own account. */
function peakMemory(pid: number): number | null {
  try {
    const match = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
    return match ? Number(match[1]) / 1e6 : null;
  } catch {
    return null; // Ended, or no such file system.
  }
}
