/** Calibration as a whole: the promise is written down, and generating keeps to it. */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Brought } from '../../../protocol/brought.ts';
import type { CalibrateEvent, TuneEvent } from '../../../protocol/events.ts';
import { parseOptions } from '../../../protocol/options/options.ts';
import type { Mode, TokenRecord } from '../../../protocol/trace.ts';
import { raised } from '../../../backend/decoding/leaving/hints.ts';
import type { TimeLimit } from '../../../backend/evaluation/calibration/calibration-texts.ts';
import { calibrate } from '../../../backend/recipes/calibrate.ts';
import { calibrateShort } from '../../../backend/recipes/calibrating/calibrate-short.ts';
import { generate } from '../../../backend/recipes/generate.ts';
import { openGenerator, closeGenerators } from '../../../backend/recipes/opening/generator.ts';
import { openWithTokenizer } from '../../../backend/recipes/opening/opened.ts';
import { tune } from '../../../backend/recipes/training/tune.ts';
import type { Calibration } from '../../../backend/checkpoint/calibration.ts';
import { openCheckpoint, saveCalibration } from '../../../backend/checkpoint/checkpoint.ts';
import { memoryFile } from '../../../backend/formats/our-folders.ts';

const model = 'models/typescript-5m';
const { signal } = new AbortController();
const text = { data: ['protocol/**/*.ts'], sequenceLength: 128, heldOutFraction: 0.3 };
let root: string;
let out: string;

beforeAll(async () => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), 'calibrate-'));
  process.env['EARLY_EXIT_CACHE'] = path.join(root, 'cache');
  out = path.join(root, 'my.exits');
  const options = {
    ...text,
    model,
    exits: '2,11',
    fitTokens: 4096,
    steps: 1,
    evaluationTokens: 256,
    shortlist: 2000,
  };
  const run = tune(parseOptions('tune', { ...options, device: 'cpu', exitDevice: 'cpu', out }), signal);
  while (!(await run.next()).done);
}, 120_000);
afterAll(async () => {
  await closeGenerators();
  fs.rmSync(root, { recursive: true, force: true });
});

/** Events of a calibration until one is the last that is wanted. */
async function calibrated(
  different: Record<string, unknown>,
  isLast: (event: CalibrateEvent) => boolean = () => false,
): Promise<CalibrateEvent[]> {
  const options = { ...text, model, exits: out, calibrationTokens: 256, device: 'cpu', ...different };
  const events: CalibrateEvent[] = [];
  for await (const event of calibrate(parseOptions('calibrate', options), signal)) {
    events.push(event);
    if (isLast(event)) break;
  }
  return events;
}
const resultOf = (events: readonly CalibrateEvent[]): Extract<CalibrateEvent, { type: 'calibrated' }> =>
  events.find((event) => event.type === 'calibrated')!;

/** Text that the exits were tuned on, long enough for them to prove themselves within it. */
const known = fs.readFileSync('protocol/options/tuning.ts', 'utf8').slice(0, 900);

async function written(mode: Mode | 'auto' = 'fast'): Promise<TokenRecord[]> {
  const given = { mode, model, exits: out, prompt: [known, 'function sum('], maxTokens: 40, device: 'cpu' };
  const tokens: TokenRecord[] = [];
  for await (const event of generate(parseOptions('generate', given), signal)) {
    if (event.type === 'token') tokens.push(event.token);
  }
  return tokens;
}

const within = (seconds: number): TimeLimit => ({ planned: seconds, most: seconds });

function stepOf(): number {
  const checkpoint = openCheckpoint(out, null);
  checkpoint.close();
  return checkpoint.progress.step;
}

test('what a tuning run finds by the promise that was asked of it is stored, tested and used where no threshold is given; every phase says how far it is, and the whole how long it takes', async () => {
  const promised = { promise: 'agreement=0.6', certainty: 0.9, calibrationTokens: 256 };
  const options = parseOptions('tune', { ...text, ...promised, model, device: 'cpu', minutes: 1 });
  const events: TuneEvent[] = [];
  for await (const event of calibrateShort(options, out, within(600), signal)) events.push(event);
  const found = events.find((event) => event.type === 'calibrated')!;
  expect(found).toMatchObject({ promise: { measure: 'agreement', limit: 0.6 }, certainty: 0.9 });
  expect(found.brought?.agreement.value ?? 1).toBeGreaterThanOrEqual(0.6);
  expect(found.speedups.exits).toBeGreaterThanOrEqual(1);
  const stored = JSON.parse(fs.readFileSync(path.join(out, 'exits.json'), 'utf8')) as {
    calibration: Calibration & { brought: Brought | null };
  };
  const { thresholds, hints = {}, trust = {}, fastest, promise, brought } = stored.calibration;
  expect(fastest).toBe(found.fastest);
  expect(promise).toEqual({ measure: 'agreement', limit: 0.6 });
  expect(brought).toEqual(found.brought);
  expect(found.exits.filter((e) => e.threshold !== null).map((e) => [e.exit, e.threshold])).toEqual(
    Object.entries(thresholds),
  );
  for (const { exit, confidence } of await written()) {
    if (exit === 'final') continue;
    // A hint of the text may have made the exit surer than it was by itself, or the token left with the hint.
    const surest = raised(confidence, Math.max(0, hints[exit]?.agrees ?? 0, hints[exit]?.agreesClearly ?? 0));
    const mayLeave = surest >= (thresholds[exit] ?? Infinity) || confidence >= (trust[exit]?.least ?? Infinity);
    expect(mayLeave, `${confidence} at ${exit}`).toBe(true);
  }
  for (const phase of ['generate', 'measure'] as const) {
    const all = events.flatMap((event) => (event.type === 'progress' && event.phase === phase ? [event] : []));
    expect(all.length).toBeGreaterThan(10);
    expect(all.at(-1)!.done).toBe(all.at(-1)!.total);
  }
  const plan = events.findIndex(({ type }) => type === 'expected');
  const writing = events.filter((event) => event.type === 'progress' && event.phase === 'generate');
  expect(plan).toBeLessThan(events.indexOf(writing[9]!));
}, 120_000);

test('a calibration decides which exits are asked and how sure they must be', async () => {
  saveCalibration(out, {
    step: stepOf(),
    promise: { measure: 'agreement', limit: 0.5 },
    brought: null,
    fastest: 'fast',
    deferred: 'exact',
    thresholds: { '11:lens': 0.9 },
    gates: {},
  });
  const tokens = await written();
  expect(new Set(tokens.map(({ exit }) => exit))).toEqual(new Set(['11:lens', 'final']));
  for (const { exit, confidence } of tokens) if (exit !== 'final') expect(confidence).toBeGreaterThanOrEqual(0.9);
  const weights = Buffer.from(new Float32Array(192).buffer).toString('base64');
  const gates = { '11:lens': { weights, bias: -1, least: 0.5 } };
  saveCalibration(out, {
    step: stepOf(),
    promise: { measure: 'agreement', limit: 0.5 },
    brought: null,
    fastest: 'fast',
    deferred: 'exact',
    thresholds: { '11:lens': 0.9 },
    gates,
  });
  expect((await written()).every(({ exit }) => exit === 'final')).toBe(true);
}, 120_000);

test('a model is cut only at exits that are asked', async () => {
  const opened = async (different: Record<string, unknown>): Promise<string[]> => {
    const given = { model, exits: out, prompt: ['a'], device: 'cpu', mode: 'fast', ...different };
    const generator = await openGenerator(parseOptions('generate', given), signal);
    generator.release();
    return generator.staged.exits.map(({ id }) => id);
  };
  saveCalibration(out, {
    step: stepOf(),
    promise: { measure: 'agreement', limit: 0.5 },
    brought: null,
    fastest: 'fast',
    deferred: 'exact',
    thresholds: { '11:lens': 0.2 },
    gates: {},
  });
  await closeGenerators();
  expect(await opened({ mode: 'full' })).toEqual(['final']);
  expect(await opened({})).toEqual(['11:lens', 'final']);
  expect(await opened({ threshold: '0.5' })).toEqual(['2:lens', '11:lens', 'final']);
  expect(await opened({ threshold: '0.5', disable: ['11'] })).toEqual(['2:lens', 'final']);
  // A deep exit costs more a draft than it saves.
  expect(await opened({ mode: 'lossless' })).toEqual(['2:lens', 'final']);
  expect(await opened({ candidates: 2 })).toEqual(['2:lens', '11:lens', 'final']);
  // At full depth a model that is open is not opened again: cuts where no exit is read cost nothing.
  expect(await opened({ mode: 'full' })).toEqual(['2:lens', '11:lens', 'final']);
}, 120_000);

test('a promise that nothing but the full model keeps asks no exit', async () => {
  const found = resultOf(await calibrated({ promise: 'agreement=1' }));
  expect(found).toMatchObject({ brought: null, speedups: { exits: 1 }, meanLayer: 12 });
  // Without exits both modes have nothing but drafts.
  expect(found.speedups.fast).toBe(found.speedups.lossless);
  expect(found.speedups.lossless).toBeGreaterThan(0);
  expect(found.exits.map(({ threshold }) => threshold)).toEqual([null, null]);
  expect((await written()).every(({ exit }) => exit === 'final')).toBe(true);
}, 120_000);

test('a budget that is too small for the promise stores nothing, and says what it takes', async () => {
  saveCalibration(out, {
    step: stepOf(),
    promise: { measure: 'agreement', limit: 0.5 },
    brought: null,
    fastest: 'fast',
    deferred: 'exact',
    thresholds: {},
    gates: {},
  });
  const options = parseOptions('calibrate', { ...text, model, exits: out, device: 'cpu', calibrationTokens: 768 });
  const events: CalibrateEvent[] = [];
  for await (const event of calibrate(options, signal, within(0.01))) events.push(event);
  const warnings = events.flatMap((event) => (event.type === 'warning' ? [event.message] : []));
  expect(warnings).toEqual([expect.stringMatching(/^The exits are not calibrated: here that takes at least \d+ s/)]);
  expect(events.some(({ type }) => type === 'calibrated' || type === 'expected')).toBe(false);
  expect(fs.readFileSync(path.join(out, 'exits.json'), 'utf8')).toContain('"limit": 0.5');
}, 120_000);

test('a promise gets as many tokens as it takes, and is refused where the text has fewer', async () => {
  const isJudging = (event: CalibrateEvent): boolean => event.type === 'phase' && event.phase === 'evaluate';
  const events = await calibrated({ promise: 'agreement=0.98' }, isJudging);
  const observed = events
    .flatMap((event) => (event.type === 'progress' && event.phase === 'generate' ? [event] : []))
    .at(-1)!;
  expect(observed.done).toBe(observed.total);
  expect(observed.total).toBeGreaterThanOrEqual(298);
  await expect(calibrated({ promise: 'agreement=0.99999' })).rejects.toThrow(
    /gives [\d,]+ tokens to calibrate on, and this promise needs at least 599144/,
  );
  // Windows that are too short for a beginning.
  await expect(calibrated({ promise: 'agreement=1', sequenceLength: 32 })).rejects.toThrow(
    'The held-out text gives 0 tokens to calibrate on, and this promise needs at least 1.',
  );
}, 120_000);

test('a promise gets its tokens of longer texts where little text is held out', async () => {
  const data = ['protocol/plural.ts', 'protocol/nearest.ts'];
  const found = resultOf(await calibrated({ promise: 'agreement=0.98', data }));
  // Four beginnings, which give too few tokens with the usual 64 each.
  expect(found.tokens).toBeGreaterThanOrEqual(298);
}, 120_000);

test('what is written with memories is not judged on text that could prove nothing, and the promise gets tokens of the full model', async () => {
  const data = ['protocol/plural.ts', 'protocol/nearest.ts'];
  const isTrial = (event: CalibrateEvent): boolean =>
    event.type === 'phase' && event.detail.startsWith('texts at full depth');
  const events = await calibrated({ promise: 'agreement=0.988', data }, isTrial);
  const phases = events.flatMap((event) => (event.type === 'phase' ? [event.detail] : []));
  expect(phases.filter((detail) => detail.endsWith('with memory'))).toEqual([]);
  const observed = events.findLast((event) => event.type === 'progress' && event.phase === 'generate')!;
  expect(observed).toMatchObject({ unit: 'tokens' });
  expect(observed.type === 'progress' && observed.total).toBeGreaterThanOrEqual(498);
}, 120_000);

test('a promise gets its tokens of texts that end early, too', async () => {
  // A model whose texts end with each line.
  const short = path.join(root, 'short-lines');
  fs.cpSync(model, short, { recursive: true });
  const { tokenizer, model: opened } = openWithTokenizer(model);
  opened.close();
  for (const name of ['config.json', 'generation_config.json']) {
    const file = path.join(short, name);
    const config = JSON.parse(fs.readFileSync(file, 'utf8')) as object;
    const ends = [0, ...tokenizer.encode(';\n'), ...tokenizer.encode('\n')];
    fs.writeFileSync(file, JSON.stringify({ ...config, eos_token_id: ends }));
  }
  // With memories, candidates would write as much again, which is no matter here.
  const plain = path.join(root, 'plain.exits');
  fs.cpSync(out, plain, { recursive: true });
  fs.rmSync(path.join(plain, memoryFile));
  const found = resultOf(await calibrated({ promise: 'agreement=0.98', model: short, exits: plain }));
  expect(found.tokens).toBeGreaterThanOrEqual(298);
}, 120_000);

test('a tuning run that cannot be calibrated is whole: the reason is a warning', async () => {
  const options = parseOptions('tune', {
    ...text,
    data: ['protocol/plural.ts', 'protocol/nearest.ts'],
    model,
    device: 'cpu',
    minutes: 1,
  });
  const events: TuneEvent[] = [];
  for await (const event of calibrateShort(options, out, within(60), signal)) events.push(event);
  const warnings = events.flatMap((event) => (event.type === 'warning' ? [event.message] : []));
  expect(warnings).toEqual([
    expect.stringMatching(/^The exits are not calibrated: The held-out text gives [\d,]+ tokens .* Give more text/),
  ]);
  expect(events.filter((event) => event.type === 'warning')).toMatchObject([{ lacks: 'text' }]);
  // Nothing is even opened if hardly a second is left, or if it was stopped.
  const late = calibrateShort(options, out, within(4), signal);
  const message = 'The exits are not calibrated: 4 s are left, which is too short for it.';
  expect(await late.next()).toEqual({ done: false, value: { type: 'warning', message } });
  expect((await late.next()).done).toBe(true);
  expect((await calibrateShort(options, out, within(60), AbortSignal.abort()).next()).done).toBe(true);
}, 120_000);

test('without exits there is nothing to calibrate', async () => {
  const options = parseOptions('calibrate', { model, device: 'cpu' });
  await expect(calibrate(options, signal).next()).rejects.toThrow(/no exits to calibrate/);
});

test('of chats it says so, for exits prove themselves in answers then', async () => {
  const folder = path.join(root, 'chats');
  const chatty = path.join(folder, 'chatty');
  const exits = path.join(folder, 'chats.exits');
  fs.cpSync(model, chatty, { recursive: true });
  fs.cpSync(out, exits, { recursive: true });
  const template = '{% for m in messages %}// {{ m.role }}\n{{ m.content }}<|endoftext|>{% endfor %}';
  fs.writeFileSync(path.join(chatty, 'chat_template.jinja'), template);
  const texts = fs.readFileSync('protocol/options/tuning.ts', 'utf8').match(/[^]{1,300}/g)!;
  const data = path.join(folder, 'chats.jsonl');
  const chats = texts.map((content) => ({ messages: [{ role: 'user', content: 'Go on.' }, { role: 'assistant', content }] })); // prettier-ignore
  fs.writeFileSync(data, chats.map((chat) => JSON.stringify(chat)).join('\n'));
  await calibrated({ model: chatty, exits, data: [data], documents: 'all', promise: 'agreement=0.5', certainty: 0.9 });
  const checkpoint = openCheckpoint(exits, null);
  checkpoint.close();
  expect(checkpoint.calibration?.learnedAnswers).toBe(true);
}, 120_000);
