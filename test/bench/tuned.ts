/** Exits that sections measure with, by kind of text; tuned where there are none, and kept for the next time. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Model } from '../../backend/model/open.ts';
import { writeChats } from './chats.ts';
import { freshFolder, runProgram } from './children.ts';
import { benchCache, typescriptText } from './material.ts';
import { isBillions } from './sections/section.ts';

/** Tunes exits of a model into a folder. */
export type Tune = (model: Model, threads: number) => Promise<string>;

/** Minutes of tuning, calibration included. */
export const minutesFor = (model: Model): number => (isBillions(model) ? 20 : 10);

/** Minutes that a run was given, as it wrote them down; null: none. */
export function minutesOf(exits: string): number | null {
  const { tuning } = JSON.parse(readFileSync(path.join(exits, 'exits.json'), 'utf8')) as {
    readonly tuning: { readonly minutes?: number | null };
  };
  return tuning.minutes ?? null;
}

export const tunedOnTypescript: Tune = (model) =>
  once(model, '', async (out) => {
    const { documents } = typescriptText('train');
    const data = path.join(freshFolder('exits-data'), 'train.jsonl');
    writeFileSync(data, documents.map((text) => JSON.stringify({ text })).join('\n'));
    await tune(model, data, out);
  });

/** On the modules of Python's own library. */
export const tunedOnPython: Tune = (model) =>
  once(model, '.python', async (out) => {
    const ask = 'import sysconfig; print(sysconfig.get_path("stdlib"))';
    const library = execFileSync('python3', ['-c', ask], { encoding: 'utf8' }).trim();
    await tune(model, path.join(library, '*.py'), out);
  });

/** On the model's own answers; calibrated on others. */
export const tunedOnChats: Tune = (model, threads) =>
  once(model, '.chats', async (out) => {
    const folder = freshFolder('chats');
    const data = { tuning: path.join(folder, 'tuning.jsonl'), calibrating: path.join(folder, 'calibrating.jsonl') };
    const file = path.resolve(model.path);
    await writeChats(file, threads, 'tuning', data.tuning);
    await writeChats(file, threads, 'calibrating', data.calibrating);
    await tune(model, data.tuning, out);
    const calibrating = ['--data', data.calibrating, '--documents', 'all'];
    await runProgram(['calibrate', '--model', file, '--exits', out, ...calibrating]);
  });

async function once(model: Model, kind: string, make: (out: string) => Promise<void>): Promise<string> {
  const out = path.join(benchCache, 'exits', `${model.name}${kind}.exits`);
  if (!existsSync(path.join(out, 'exits.json'))) await make(out);
  return out;
}

async function tune(model: Model, data: string, out: string): Promise<void> {
  const minutes = minutesFor(model);
  console.error(`  tuning exits for ${minutes} minutes …`);
  const what = ['--model', path.resolve(model.path), '--data', data];
  await runProgram(['tune', ...what, '--minutes', `${minutes}`, '--out', out]);
}
