/** A sweep as a whole: stopped in the middle it goes on, what fails is named, the same seed gives the same bits, and its report is drawn. */
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { SweepEvent, TuneEvent } from '../../../protocol/events.ts';
import { parseOptions } from '../../../protocol/options/options.ts';
import { readInfo } from '../../../backend/checkpoint/checkpoint.ts';
import type { TrainingPosition } from '../../../backend/checkpoint/state.ts';
import { importExits } from '../../../backend/recipes/import.ts';
import { report } from '../../../backend/recipes/report.ts';
import { sweep } from '../../../backend/recipes/sweep.ts';
import { forTensorboard } from '../../../backend/recipes/training/tensorboard.ts';
import { finished } from '../cluster/reports.ts';
import { tinyModel } from '../../distributed/ranks.ts';
import { shippedModel } from '../../support/golden.ts';

let root: string;
const { signal } = new AbortController();

beforeAll(() => {
  root = mkdtempSync(path.join(tmpdir(), 'sweep-'));
  process.env['EARLY_EXIT_CACHE'] = path.join(root, 'cache');
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const common = {
  model: shippedModel,
  data: [path.resolve('protocol/p*.ts')],
  initialise: 'copy',
  steps: 2,
  sequenceLength: 64,
  evaluationTokens: 64,
  shortlist: 500,
  heldOutFraction: 0.3,
  device: 'cpu',
  tensorboard: true,
  exitDevice: 'cpu',
};

function file(content: unknown): string {
  const name = path.join(root, 'my.json');
  writeFileSync(name, JSON.stringify(content));
  return name;
}

async function events(name: string, out: string, until: AbortSignal = signal, each?: (event: SweepEvent) => void) {
  const all: SweepEvent[] = [];
  for await (const event of sweep(parseOptions('sweep', { file: name, out }), until)) {
    all.push(event);
    each?.(event);
  }
  return all;
}
const trials = (all: readonly SweepEvent[]) => all.filter((event) => event.type === 'trial');
const swept = (all: readonly SweepEvent[]) => all.find((event) => event.type === 'swept')!;
const bits = (out: string, trial: string): Buffer =>
  readFileSync(path.join(out, `${trial}.exits`, 'exits.safetensors'));

/** Files of states of the backbone, with when each was written. */
function cachedFeatures(): string[] {
  const folder = path.join(root, 'cache/features');
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => path.join(folder, name))
    .filter((file) => file.endsWith('.bin'))
    .map((file) => `${file} ${statSync(file).mtimeMs}`)
    .sort();
}

/** Tags by step of the event files in a folder: records are read by their lengths. */
function tensorboardTags(folder: string): string[] {
  const name = readdirSync(folder).find((each) => each.startsWith('events.out.tfevents.'))!;
  const file = readFileSync(path.join(folder, name));
  const found: string[] = [];
  for (let at = 0; at < file.length;) {
    const length = Number(file.readBigUInt64LE(at));
    const body = file.subarray(at + 12, at + 12 + length).toString('latin1');
    found.push(...[...body.matchAll(/(?:run|loss|gap|held out \w+|gradient norm)\/[\w: ]+/g)].map(([tag]) => tag));
    at += length + 16;
  }
  return found;
}

it('goes on where it was stopped, names what fails, and gives the same bits for the same seed', async () => {
  // The same seed twice: the second trial is begun by another sitting.
  const name = file({ options: common, trials: [{ exits: '99' }, { exits: '2:norm' }], grid: { seed: [1, 1] } });
  const out = path.join(root, 'my.sweep');
  const stopping = new AbortController();
  const stopped = events(name, out, stopping.signal, (event) => {
    if (event.type === 'trial' && event.number === 2) stopping.abort(new Error('stopped'));
  });
  await expect(stopped).rejects.toThrow('stopped');
  const features = cachedFeatures();
  expect(features.length).toBeGreaterThan(0);
  const all = await events(name, out);
  // What the second trial of the same text reads was computed by the first.
  expect(cachedFeatures()).toEqual(features);
  expect(trials(all).map(({ state }) => state)).toEqual(['failed', 'earlier', 'failed', 'finished']);
  const { groups, failed } = swept(all);
  expect(failed).toEqual(
    ['001', '003'].map((trial) => ({
      name: `${trial} (exits 99)`,
      message: expect.stringMatching(/99:lens lies beyond the last layer/) as string,
    })),
  );
  expect(groups).toMatchObject([{ seeds: 1, exits: [{ exit: '2:norm', loss: { deviation: 0 } }] }]);
  expect(groups[0]!.exits[0]!.loss.mean).toBeGreaterThan(0);
  expect(bits(out, '004')).toEqual(bits(out, '002'));

  const tags = tensorboardTags(path.join(out, '004.exits'));
  // Before the first update and behind each.
  expect(tags.filter((tag) => tag.startsWith('held out loss/2:norm'))).toHaveLength(3);
  expect(tags.filter((tag) => tag.startsWith('loss/2:norm'))).toHaveLength(2);

  const html = path.join(root, 'report.html');
  const reporting = report(parseOptions('report', { runs: [out], out: html }), signal);
  while (!(await reporting.next()).done);
  const page = readFileSync(html, 'utf8');
  expect(page).toContain('Runs beside each other');
  // A sweep's own page: cost by group and run, and whether confidences can be trusted.
  expect(page).toMatch(
    /<td>2<\/td><td>252<\/td><td>[\d.]+<\/td><td>[\d.]+<\/td><td>1\.6e-3 %<\/td><td>[\d.e-]+ %<\/td><td>\d+ MiB/,
  );
  expect(page).toMatch(/Reliability of confidences.*Mean distance from it: 2:norm [\d.]+ %/s);
  expect(page).toMatch(/<td>2:norm<\/td><td>1<\/td><td>[\d.]+<\/td>/);
  await expect(events(file({ options: common }), out)).rejects.toThrow(/holds another sweep/);
}, 60_000);

it('trains the model of the exits further where none is named', async () => {
  const model = tinyModel(root, 'llama-tied');
  const exits = path.join(root, 'tiny.exits');
  const importing = importExits(parseOptions('import', { model, layers: '1', out: exits }), signal);
  while (!(await importing.next()).done);
  const { data, device, exitDevice, sequenceLength, evaluationTokens, heldOutFraction } = common;
  const given = { data, device, exitDevice, sequenceLength, evaluationTokens, heldOutFraction, steps: 1 };
  const options = { ...given, continuePretraining: exits };
  const all = await events(file({ options, trials: [{}] }), path.join(root, 'further.sweep'));
  expect(trials(all).map(({ state, message }) => [state, message])).toEqual([['finished', null]]);
}, 60_000);

it('calibrates a trial that was stopped in its calibration, and calibrates it once', async () => {
  const promised = { promise: 'agreement=0.5', certainty: 0.9, calibrationTokens: 256 };
  const options = {
    ...common,
    ...promised,
    data: [path.resolve('protocol/**/*.ts')],
    exits: '11',
    sequenceLength: 128,
  };
  const name = file({ options, trials: [{}] });
  const out = path.join(root, 'late.sweep');
  await events(name, out);
  const folder = path.join(out, '001.exits');
  // As a run with minutes leaves it.
  const state = path.join(folder, 'state/state.json');
  const { position, ...rest } = JSON.parse(readFileSync(state, 'utf8')) as { position: TrainingPosition };
  const end = { steps: null, epochs: null, seconds: position.seconds + 600 };
  writeFileSync(state, JSON.stringify({ ...rest, position: { ...position, calibrates: true, end } }));
  const states = async () => trials(await events(name, out)).map((trial) => trial.state);
  expect(await states()).toEqual(['finished']);
  expect(readInfo(folder).calibration).toMatchObject({ promise: { measure: 'agreement', limit: 0.5 } });
  expect(await states()).toEqual(['earlier']);
}, 120_000);

it('completes a trial whose job elsewhere ended while no command followed it', async () => {
  const options = { ...common, exits: '2:norm', steps: 1 };
  await events(file({ options, trials: [{}] }), path.join(root, 'here.sweep'));
  const name = file({ options: { ...options, on: 'torchrun' }, trials: [{}] });
  const folder = path.join(root, 'elsewhere.sweep', '001.exits');
  cpSync(path.join(root, 'here.sweep', '001.exits'), folder, { recursive: true });
  const [card, job] = [path.join(folder, 'README.md'), path.join(folder, 'distributed')];
  rmSync(card);
  mkdirSync(job);
  writeFileSync(path.join(job, 'running.json'), JSON.stringify({ kind: 'processes', processes: [] }));
  writeFileSync(path.join(job, 'events.jsonl'), `${finished(false)}\n`);
  const states = async () =>
    trials(await events(name, path.dirname(folder))).map(({ state, message }) => [state, message]);
  expect(await states()).toEqual([['finished', null]]);
  expect([existsSync(card), existsSync(job)]).toEqual([true, false]);
  expect(await states()).toEqual([['earlier', null]]);
}, 60_000);

it('goes on behind a trial whose folder is broken', async () => {
  const name = file({ options: { ...common, exits: '2:norm', steps: 1 }, grid: { seed: [1, 2] } });
  const out = path.join(root, 'broken.sweep');
  await events(name, out);
  writeFileSync(path.join(out, '001.exits/state/state.json'), '{');
  const all = await events(name, out);
  expect(trials(all).map(({ state }) => state)).toEqual(['failed', 'earlier']);
  const { failed, groups } = swept(all);
  expect(failed).toMatchObject([{ name: '001 (seed 1)', message: expect.stringContaining('001.exits') as string }]);
  expect(groups).toMatchObject([{ seeds: 1, exits: [{ exit: '2:norm' }] }]);
}, 60_000);

it('says what cannot be written', async () => {
  const taken = path.join(root, 'taken');
  writeFileSync(taken, '');
  const message = `Cannot write ${taken}: a file is in the place of a folder.`;
  await expect(events(file({ options: common }), taken)).rejects.toMatchObject({ code: 'file-system', message });
  const evaluation = { type: 'evaluation' as const, step: 0, tokens: 0, scores: [], best: true };
  const run = (async function* (): AsyncGenerator<TuneEvent, void> {
    yield evaluation;
  })();
  await expect(forTensorboard(run, taken).next()).rejects.toThrow(/^Cannot write .*taken\/events.*not a folder/);
});
