/** Runs in PyTorch for tests: a Python that has it, tiny models that can be tuned by name, and metrics side by side. */
import { execFile } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'vitest';
import type { TuneEvent } from '../../protocol/events.ts';
import { parseOptions } from '../../protocol/options/options.ts';
import { recipes } from '../../backend/recipes/index.ts';
import { tuneElsewhere } from '../../backend/recipes/training/elsewhere.ts';
import { fixtures } from '../support/golden.ts';

const root = path.resolve(import.meta.dirname, '../..');
const cached = path.join(root, '.cache/distributed/bin/python');

/** A Python with PyTorch: that of the cache, or the one that is named; null, with a message, if there is none. */
export function pythonWithTorch(): string | null {
  const python = process.env['EARLY_EXIT_PYTHON'] ?? (fs.existsSync(cached) ? cached : null);
  if (python === null) console.warn('Skipped: no PyTorch here. npm run test:distributed brings it.');
  return python;
}

/** Everything, which takes minutes, or the part that every `npm test` runs. */
export const isWhole = process.env['EARLY_EXIT_DISTRIBUTED'] === 'whole';

/** A tiny model of the fixtures in a folder of its own, with a tokenizer whose tokens are bytes. */
export function tinyModel(folder: string, family: string): string {
  const model = path.join(folder, family);
  fs.cpSync(path.join(fixtures, 'tiny', family), model, { recursive: true });
  const config = JSON.parse(fs.readFileSync(path.join(model, 'config.json'), 'utf8')) as { vocab_size: number };
  const known = byteCharacters().slice(0, config.vocab_size);
  const vocab = Object.fromEntries(known.map((character, id) => [character, id]));
  const tokenizer = {
    version: '1.0',
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    model: { type: 'BPE', vocab, merges: [] },
  };
  fs.writeFileSync(path.join(model, 'tokenizer.json'), JSON.stringify(tokenizer));
  fs.writeFileSync(path.join(model, 'tokenizer_config.json'), '{"tokenizer_class": "PreTrainedTokenizerFast"}');
  return model;
}

/** GPT-2's characters for the bytes 0 to 255. */
function byteCharacters(): string[] {
  const isShown = (byte: number): boolean =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
  let hidden = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(isShown(byte) ? byte : hidden++));
}

export async function tuned(options: Record<string, unknown>, signal?: AbortSignal): Promise<TuneEvent[]> {
  const events: TuneEvent[] = [];
  for await (const event of recipes.tune(parseOptions('tune', options), signal ?? new AbortController().signal))
    events.push(event);
  return events;
}

/** A run of some seconds on a tiny model, whose metrics are compared with those of the engine here. */
export const shortRun = {
  data: ['protocol/shapes.ts', 'protocol/spans.ts', 'protocol/jobs.ts'],
  exits: '1:lens,2:mlp,3:norm',
  shortlist: 60,
  initialise: 'copy',
  sequenceLength: 48,
  heldOutFraction: 0.2,
  evaluationTokens: 192,
  steps: 40,
  evaluateEvery: 20,
  batchSize: 2,
  backbonePrecision: 'exact',
  // It rounds states to 16 bits, which PyTorch does not.
  featureCache: false,
  device: 'cpu',
  exitDevice: 'cpu',
};

/** Follows a run elsewhere until this number of steps is done, then does something once, and goes on. */
export async function follow(
  given: Record<string, unknown>,
  step: number,
  act: () => void,
  signal?: AbortSignal,
): Promise<TuneEvent[]> {
  const events: TuneEvent[] = [];
  let acted = false;
  for await (const event of tuneElsewhere(parseOptions('tune', given), signal ?? new AbortController().signal)) {
    events.push(event);
    if (event.type === 'step' && event.step >= step && !acted) {
      acted = true;
      act();
    }
  }
  return events;
}

/** Every step is there, and its losses are within a thousandth of the other run's. */
export function sameMetrics(one: string, other: string): void {
  const [here, there] = [metricsOf(one), metricsOf(other)];
  expect(there.map(({ type, step }) => [type, step])).toEqual(here.map(({ type, step }) => [type, step]));
  for (const [i, line] of here.entries()) {
    if (line.type !== 'step') continue;
    const of = ({ losses, loss }: Readonly<Record<string, unknown>>): unknown => ({ losses, loss });
    expect(worstDifference(of(line), of(there[i]!)).difference).toBeLessThan(1e-3);
  }
}

/** Runs the jobs of some folders in ranks of one machine; throws with what they said if one fails. */
export async function runInRanks(python: string, directories: readonly string[]): Promise<string> {
  const script = path.join(root, 'distributed/tests/in_ranks.py');
  return (await promisify(execFile)(python, [script, ...directories], { maxBuffer: 2 ** 26 })).stdout;
}

export type MetricLine = Readonly<Record<string, unknown>> & {
  readonly type: 'step' | 'evaluation';
  readonly step: number;
};

export const metricsOf = (directory: string): MetricLine[] =>
  fs
    .readFileSync(path.join(directory, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as MetricLine);

/** The largest relative difference of two numbers at one place of two values of the same shape, and where it is. */
export function worstDifference(
  a: unknown,
  b: unknown,
  place = '',
): { readonly difference: number; readonly place: string } {
  if (typeof a === 'number' && typeof b === 'number')
    return { difference: Math.abs(a - b) / Math.max(Math.abs(a), 1e-6), place };
  if (typeof a !== 'object' || a === null || typeof b !== 'object' || b === null)
    return { difference: a === b ? 0 : Infinity, place };
  const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
  const of = (value: object, key: string): unknown => (value as Record<string, unknown>)[key];
  return [...keys]
    .map((key) => worstDifference(of(a, key), of(b, key), `${place}.${key}`))
    .reduce((worst, each) => (each.difference > worst.difference ? each : worst), { difference: 0, place });
}
