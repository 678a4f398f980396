/** Tuning and evaluation as a whole, on the model that ships and a little text. */
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { UserError } from '../../../../protocol/errors.ts';
import type { EvaluateEvent, TuneEvent } from '../../../../protocol/events.ts';
import { parseOptions } from '../../../../protocol/options/options.ts';
import { readPosition } from '../../../../backend/checkpoint/state.ts';
import { openCheckpoint, readInfo } from '../../../../backend/checkpoint/checkpoint.ts';
import { calibrate } from '../../../../backend/recipes/calibrate.ts';
import { evaluate } from '../../../../backend/recipes/evaluate.ts';
import { recipes } from '../../../../backend/recipes/index.ts';
import { openParts } from '../../../../backend/recipes/training/parts.ts';
import { tune } from '../../../../backend/recipes/training/tune.ts';

const model = 'models/typescript-5m';
/** Enough for every exit to gain, whatever this repository's text is at the time. */
const updates = 16;
let root: string;
let out: string;
let events: TuneEvent[];
let weightsBefore: string;

const never = new AbortController().signal;
const weights = (): string =>
  createHash('sha256')
    .update(fs.readFileSync(`${model}/model.safetensors`))
    .digest('hex');
const given = (more: Record<string, unknown> = {}): Record<string, unknown> => ({
  model,
  data: ['protocol/**/*.ts'],
  exits: '3:mlp,6,10:norm',
  sequenceLength: 128,
  heldOutFraction: 0.2,
  evaluationTokens: 1024,
  fitTokens: 8192,
  steps: updates,
  evaluateEvery: updates / 2,
  learningRate: 5e-4,
  shortlist: 1000,
  device: 'cpu',
  exitDevice: 'cpu',
  out,
  ...more,
});
/** A run with all parts, on a few windows: some are first read by the fit, others by the updates. */
const brief = { sequenceLength: 64, evaluationTokens: 256, fitTokens: 512, steps: 8, evaluateEvery: 4 };

async function collect<E>(stream: AsyncGenerator<E, void>, on?: (event: E) => void): Promise<E[]> {
  const all: E[] = [];
  for await (const event of stream) {
    all.push(event);
    on?.(event);
  }
  return all;
}
const run = (more?: Record<string, unknown>, signal = never) =>
  collect(tune(parseOptions('tune', given(more)), signal));
const only = <T extends TuneEvent['type']>(type: T, from = events): Extract<TuneEvent, { type: T }>[] =>
  from.filter((event): event is Extract<TuneEvent, { type: T }> => event.type === type);
/** The brief run at once, made by the first test that looks at it. */
let whole: Promise<TuneEvent[]> | null = null;
const briefly = (): Promise<TuneEvent[]> => (whole ??= run({ ...brief, out: path.join(root, 'brief.exits') }));
const code = (expected: UserError['code']): Partial<UserError> => ({ name: 'UserError', code: expected });

beforeAll(async () => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), 'tune-'));
  process.env['EARLY_EXIT_CACHE'] = path.join(root, 'cache');
  out = path.join(root, 'my.exits');
  weightsBefore = weights();
  events = await run();
}, 120_000);
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

describe('tune', () => {
  it('says what it does, in order', () => {
    expect(only('ready')).toEqual([
      {
        type: 'ready',
        model: 'typescript-5m',
        layers: 12,
        exits: [
          { exit: '3:mlp', layer: 3 },
          { exit: '6:lens', layer: 6 },
          { exit: '10:norm', layer: 10 },
        ],
        device: 'cpu',
      },
    ]);
    const phases = only('phase').map(({ phase }) => phase);
    expect(phases).toEqual(['load', 'tokenize', 'features', 'evaluate', 'fit', 'save', 'tune']);
    expect(only('step').map(({ step, steps }) => [step, steps])).toEqual(
      Array.from({ length: updates }, (_, i) => [i + 1, updates]),
    );
    expect(only('evaluation').map(({ step }) => step)).toEqual([0, updates / 2, updates]);
    expect(events.at(-1)).toMatchObject({ type: 'tuned', directory: out, step: updates, stopped: false });
  });

  it('makes every exit better than its start, and deeper ones better than shallow ones', () => {
    const [{ before, after }] = only('tuned') as [Extract<TuneEvent, { type: 'tuned' }>];
    const fitted = only('evaluation')[0]!.scores;
    expect(after.map(({ exit }) => exit)).toEqual(['3:mlp', '6:lens', '10:norm', 'final']);
    for (const [i, { loss }] of after.slice(0, 3).entries()) {
      expect(loss).toBeLessThan(fitted[i]!.loss);
      expect(fitted[i]!.loss).toBeLessThan(before[i]!.loss);
      expect(after[i + 1]!.loss).toBeLessThan(loss);
      expect(after[i + 1]!.agreement).toBeGreaterThan(after[i]!.agreement);
    }
    expect(after[3]).toMatchObject({ loss: before[3]!.loss, agreement: 1 });
  });

  it('reads a text with a marker for which the model has no row', async () => {
    const marked = path.join(root, 'marked');
    fs.cpSync(model, marked, { recursive: true, filter: (file) => !file.includes('exits') });
    const file = path.join(marked, 'tokenizer.json');
    const json = JSON.parse(fs.readFileSync(file, 'utf8')) as { added_tokens: object[] };
    json.added_tokens.push({ ...json.added_tokens[0], id: 4096, content: '<image>' });
    fs.writeFileSync(file, JSON.stringify(json));
    const text = path.join(root, 'marked.ts');
    fs.writeFileSync(text, "const image = '<image>';\n".repeat(200));
    const exits = path.join(root, 'marked.exits');
    const last = (await run({ ...brief, model: marked, data: [text], steps: 1, out: exits })).at(-1);
    expect(last).toMatchObject({ type: 'tuned', step: 1 });
    const options = parseOptions('evaluate', { model: marked, data: [text], exits, device: 'cpu' });
    const evaluated: EvaluateEvent[] = await collect(evaluate(options, never));
    expect(evaluated.at(-1)).toMatchObject({ type: 'evaluated' });
  });

  it('leaves the model as it was, and writes a checkpoint that evaluate reads to the same scores', async () => {
    expect(weights()).toBe(weightsBefore);
    const { model: name, data, sequenceLength, evaluationTokens } = given();
    const same = { model: name, data, sequenceLength, evaluationTokens };
    const options = { ...same, exits: out, device: 'cpu' };
    const all: EvaluateEvent[] = await collect(evaluate(parseOptions('evaluate', options), never));
    const evaluated = all.at(-1) as Extract<EvaluateEvent, { type: 'evaluated' }>;
    const [{ after }] = only('tuned') as [Extract<TuneEvent, { type: 'tuned' }>];
    expect(evaluated.scores.map(({ exit }) => exit)).toEqual(after.map(({ exit }) => exit));
    evaluated.scores.forEach((score, i) => {
      expect(score.loss).toBeCloseTo(after[i]!.loss, 4);
      expect(score.agreement).toBeCloseTo(after[i]!.agreement, 3);
    });
    expect(evaluated.sweep).toHaveLength(21);
    expect(evaluated.sweep[0]).toEqual({ threshold: 1, meanLayer: 12, layerShare: 1, agreement: 1 });
    const layers = evaluated.sweep.map(({ meanLayer }) => meanLayer);
    expect(layers).toEqual([...layers].sort((a, b) => b - a));
  });

  it('finds the states of an epoch kept, and comes to the same numbers with them', async () => {
    const lossesOf = async (events: Promise<TuneEvent[]>) => {
      const steps = only('step', await events);
      expect(steps).toHaveLength(brief.steps);
      return steps.map(({ losses }) => losses);
    };
    const first = await lossesOf(briefly());
    expect(await lossesOf(run({ ...brief, out: path.join(root, 'again.exits') }))).toEqual(first);
    const without = run({ ...brief, out: path.join(root, 'without.exits'), featureCache: false });
    for (const [i, losses] of (await lossesOf(without)).entries()) {
      for (const [exit, loss] of Object.entries(losses)) expect(Math.abs(loss - first[i]![exit]!)).toBeLessThan(0.02);
    }
  });

  it('keeps its work when it is stopped, and goes on to the same metrics', async () => {
    const directory = path.join(root, 'stopped.exits');
    const abort = new AbortController();
    await briefly();
    const options = parseOptions('tune', given({ ...brief, out: directory }));
    const first = await collect(tune(options, abort.signal), (event) => {
      if (event.type === 'step' && event.step === 3) abort.abort();
    });
    expect(first.at(-1)).toMatchObject({ type: 'tuned', step: 3, stopped: true });
    // Only where it lies is said again; the rest is the run's own.
    const second = await collect(
      tune(parseOptions('tune', { model, out: directory, resume: true, device: 'cpu', exitDevice: 'cpu' }), never),
    );
    expect(second.at(-1)).toMatchObject({ type: 'tuned', step: brief.steps, stopped: false });
    const metrics = (folder: string): string => fs.readFileSync(path.join(folder, 'metrics.jsonl'), 'utf8');
    expect(metrics(directory)).toBe(metrics(path.join(root, 'brief.exits')));
  });

  it('is unfinished when it is stopped beyond its first end, and goes on to the further one', async () => {
    const directory = path.join(root, 'further.exits');
    await run({ ...brief, out: directory });
    const same = { model, out: directory, resume: true, device: 'cpu', exitDevice: 'cpu' };
    const abort = new AbortController();
    const further = brief.steps + 3;
    await collect(tune(parseOptions('tune', { ...same, steps: 3 }), abort.signal), (event) => {
      if (event.type === 'step' && event.step === brief.steps + 1) abort.abort();
    });
    expect(readPosition(directory)).toMatchObject({ finished: false, step: brief.steps + 1, end: { steps: further } });
    const last = await collect(tune(parseOptions('tune', same), never));
    expect(last.at(-1)).toMatchObject({ type: 'tuned', step: further, stopped: false });
    expect(readPosition(directory).finished).toBe(true);
    // Exits name no folder of this machine.
    const info = JSON.parse(fs.readFileSync(path.join(directory, 'exits.json'), 'utf8')) as object;
    expect(Object.keys(info).sort()).toEqual(['base', 'calibration', 'exits', 'format', 'progress', 'tuning', 'version']); // prettier-ignore
  });

  it('goes on where its text is found around what it wrote', async () => {
    const project = fs.mkdtempSync(path.join(root, 'project-'));
    fs.cpSync('protocol', project, { recursive: true });
    const directory = path.join(project, 'my.exits');
    await run({ ...brief, out: directory, data: [`${project}/**/*.{ts,md}`], steps: 1 });
    const more = { model, out: directory, resume: true, steps: 1, device: 'cpu', exitDevice: 'cpu' };
    const second = await collect(tune(parseOptions('tune', more), never));
    expect(second.at(-1)).toMatchObject({ type: 'tuned', step: 2, stopped: false });
  });

  it('goes on with the last run of the model here where no folder is named', async () => {
    const before = process.cwd();
    const folder = fs.mkdtempSync(path.join(root, 'here-'));
    // A folder that was copied elsewhere names its text relative to where it lay.
    const data = [path.resolve('protocol/**/*.ts')];
    const options = { model: path.resolve(model), data, resume: true, steps: 1, device: 'cpu', exitDevice: 'cpu' };
    const goOn = () => collect(recipes.tune(parseOptions('tune', options), never));
    process.chdir(folder);
    try {
      await expect(goOn()).rejects.toMatchObject(code('bad-argument'));
      fs.mkdirSync('typescript-5m.exits');
      fs.cpSync(out, 'typescript-5m-10.exits', { recursive: true });
      const second = await goOn();
      expect(second.at(-1)).toMatchObject({ directory: 'typescript-5m-10.exits', step: updates + 1 });
    } finally {
      process.chdir(before);
    }
  });

  it('keeps what its fit has seen when it is stopped there, and goes on', async () => {
    const directory = path.join(root, 'fitted.exits');
    const abort = new AbortController();
    const options = parseOptions('tune', given({ out: directory }));
    // Two windows may be too few for a gain.
    const first = await collect(tune(options, abort.signal), (event) => {
      if (event.type === 'progress' && event.phase === 'fit' && event.done === 3) abort.abort();
    });
    expect(only('progress', first).filter(({ phase }) => phase === 'fit').length).toBeLessThan(4);
    const [{ before, after, step, stopped }] = only('tuned', first) as [Extract<TuneEvent, { type: 'tuned' }>];
    expect([step, stopped]).toEqual([0, true]);
    for (const [i, { exit, loss }] of after.slice(0, 3).entries()) expect(loss, exit).toBeLessThan(before[i]!.loss);
    const more = { model, out: directory, resume: true, steps: 1, device: 'cpu', exitDevice: 'cpu' };
    const second = await collect(tune(parseOptions('tune', more), never));
    expect(second.at(-1)).toMatchObject({ type: 'tuned', step: 1, stopped: false });
  });

  it('says that it keeps nothing when it is stopped before it learned anything', async () => {
    const directory = path.join(root, 'early.exits');
    const abort = new AbortController();
    const events: TuneEvent[] = [];
    const stopped = collect(recipes.tune(parseOptions('tune', given({ out: directory })), abort.signal), (event) => {
      events.push(event);
      if (event.type === 'phase' && event.phase === 'features') abort.abort();
    });
    await expect(stopped).rejects.toThrow(/abort/i);
    expect(events.at(-1)).toMatchObject({
      type: 'warning',
      message: expect.stringMatching(/^Nothing was saved/) as string,
    });
    expect(fs.existsSync(directory)).toBe(false);
  });

  it('goes on for as many updates as are asked for, on top of those done, whether it had ended or not', async () => {
    const directory = path.join(root, 'more.exits');
    fs.cpSync(out, directory, { recursive: true });
    const more = (steps: number, signal = never, on?: (event: TuneEvent) => void): Promise<TuneEvent[]> => {
      const options = { model, out: directory, resume: true, steps, device: 'cpu', exitDevice: 'cpu' };
      return collect(tune(parseOptions('tune', options), signal), on);
    };
    const abort = new AbortController();
    const stopped = await more(9, abort.signal, (event) => event.type === 'step' && abort.abort());
    expect(stopped.at(-1)).toMatchObject({ type: 'tuned', step: updates + 1, stopped: true });
    const ended = await more(2);
    expect(ended.at(-1)).toMatchObject({ type: 'tuned', step: updates + 3, stopped: false });
    expect(only('step', ended).map(({ step, steps }) => [step, steps])).toEqual([
      [updates + 2, updates + 3],
      [updates + 3, updates + 3],
    ]);
  });

  it('counts all of a later sitting as its time', async () => {
    const directory = path.join(root, 'later.exits');
    fs.cpSync(out, directory, { recursive: true });
    // Beyond its end a run takes all windows, and no longer those of its pool alone.
    const file = path.join(directory, 'state/state.json');
    const state = JSON.parse(fs.readFileSync(file, 'utf8')) as { position: object };
    fs.writeFileSync(file, JSON.stringify({ ...state, position: { ...state.position, pool: 1 } }));
    const options = { model, out: directory, resume: true, steps: 1, device: 'cpu', exitDevice: 'cpu' };
    const later: TuneEvent[] = [];
    for await (const event of tune(parseOptions('tune', options), never)) {
      later.push(event);
      // What comes before the updates is part of a sitting; here it takes longer than they do.
      if (event.type === 'ready') await setTimeout(1500);
    }
    const [before, after] = [only('tuned')[0]!, only('tuned', later)[0]!];
    expect(after.seconds - before.seconds).toBeGreaterThan(1.5);
    expect(readPosition(directory).pool).toBeNull();
  });

  it('plans its minutes, says how they are spent, and keeps no exit that agrees less than its copy', async () => {
    const planned = await run({ out: path.join(root, 'planned.exits'), steps: null, minutes: 0.1, exits: 'auto' });
    const [{ seconds, ...plan }] = only('minutes', planned) as [Extract<TuneEvent, { type: 'minutes' }>];
    expect(plan).toMatchObject({ minutes: 0.1, minutesNeeded: null });
    expect(plan.evaluationTokens).toBeLessThanOrEqual(1024);
    expect(Object.values(seconds).reduce((sum, each) => sum + each, 0)).toBeLessThanOrEqual(6);
    const [{ before, after }] = only('tuned', planned) as [Extract<TuneEvent, { type: 'tuned' }>];
    for (const [i, { exit, loss, agreement }] of after.entries()) {
      expect(loss, exit).toBeLessThanOrEqual(before[i]!.loss);
      expect(agreement, exit).toBeGreaterThanOrEqual(before[i]!.agreement);
    }
  });

  it('plans by windows that its fit will compute, also if an earlier run has kept their states', async () => {
    await briefly();
    const options = parseOptions('tune', given({ ...brief, steps: null, minutes: 1 }));
    const closing: (() => void | Promise<void>)[] = [];
    const began = performance.now();
    const elapsed = (): number => (performance.now() - began) / 1000;
    const opening = openParts(options, null, 60, (close) => void closing.push(close), elapsed, never);
    let next = await opening.next();
    while (!next.done) next = await opening.next();
    expect(next.value.fitStates.computed()).toBe(3);
    expect(next.value.wholeStates.computed()).toBe(0);
    for (const close of closing.reverse()) await close();
  });

  it('keeps the minutes that a preset became apart from its options, by which runs are compared', async () => {
    const directory = path.join(root, 'preset.exits');
    const abort = new AbortController();
    const options = parseOptions('tune', given({ ...brief, steps: null, preset: 'quick', out: directory }));
    const planned = await collect(tune(options, abort.signal), (event) => {
      if (event.type === 'progress' && event.phase === 'fit' && event.done === 2) abort.abort();
    });
    const [{ minutes }] = only('minutes', planned) as [Extract<TuneEvent, { type: 'minutes' }>];
    expect(readInfo(directory).tuning).toMatchObject({ minutes: null, preset: 'quick' });
    const end = { steps: null, epochs: null, seconds: 60 * minutes };
    expect(readPosition(directory)).toMatchObject({ end, calibrates: true });
  });

  it('says where its minutes bring nothing, and what would, and ends with exits that are no worse', async () => {
    const short = await run({ out: path.join(root, 'short.exits'), steps: null, minutes: 0.0001 });
    expect(only('warning', short).map(({ message }) => message)).toEqual([
      expect.stringMatching(
        /^0\.0001 minutes are too few here for a fit, 10 updates and a calibration of typescript-5m's exits; about \d+ suffice \(--minutes \d+\)\.$/,
      ),
      'The run ended before the first update: the exits have their initial values.',
    ]);
    expect(only('step', short)).toEqual([]);
    const phases = only('phase', short).map(({ phase }) => phase);
    expect(phases).not.toContain('tune');
    const [{ before, after, step }] = only('tuned', short) as [Extract<TuneEvent, { type: 'tuned' }>];
    expect(step).toBe(0);
    for (const [i, { agreement }] of after.entries()) expect(agreement).toBeGreaterThanOrEqual(before[i]!.agreement);
    const { progress } = openCheckpoint(path.join(root, 'short.exits'), null);
    expect(Object.keys(progress.origins!)).toEqual(['3:mlp', '6:lens', '10:norm']);
  });

  it('says before it works that a promise takes minutes', async () => {
    const few = { ...brief, exits: '6', steps: 1 };
    const promised = await run({ ...few, out: path.join(root, 'promised.exits'), promise: 'agreement=0.9' });
    const at = promised.findIndex(({ type }) => type === 'step');
    expect(only('warning', promised.slice(0, at)).map(({ message }) => message)).toEqual([
      expect.stringMatching(/^This run does not calibrate its exits, so --promise, /),
    ]);
    expect(only('warning').some(({ message }) => message.includes('calibrate'))).toBe(false);
  });

  it('trains heads that are shared or own, from copies and noise, with a teacher and ramps', async () => {
    const shared = await run({
      out: path.join(root, 'shared.exits'),
      exits: '6:layer,8:lens',
      head: 'shared',
      initialise: 'copy',
      crossEntropy: 1,
      distillation: 0.5,
      exitWeights: '0.1..1:cosine',
      steps: 3,
    });
    const [before, after] = [only('evaluation', shared)[0]!, only('evaluation', shared).at(-1)!];
    for (const [i, { exit, loss }] of after.scores.entries()) {
      if (exit !== 'final') expect(loss, exit).toBeLessThan(before.scores[i]!.loss);
    }
    const random = await run({
      out: path.join(root, 'random.exits'),
      exits: '6:norm',
      head: 'own',
      initialise: 'random',
      steps: 2,
      accumulation: 2,
    });
    // Noise over 4,096 classes begins near ln 4096.
    expect(only('evaluation', random)[0]!.scores[0]!.loss).toBeCloseTo(Math.log(4096), 0);
  });
});

const measuring = {
  evaluate: (given: Record<string, unknown>) => evaluate(parseOptions('evaluate', given), never),
  calibrate: (given: Record<string, unknown>) => calibrate(parseOptions('calibrate', given), never),
};

describe('tune refuses', () => {
  const refused = (more: Record<string, unknown>, expected: UserError['code'], message = /./) =>
    expect(run(more)).rejects.toMatchObject({
      ...code(expected),
      message: expect.stringMatching(message) as string,
    });

  it('a folder that is taken, before any work', () => refused({}, 'file-system'));
  it('an exit beyond the model', () => refused({ out: path.join(root, 'x'), exits: '13' }, 'bad-argument'));
  it('data that is not there, before the model is opened', () =>
    refused({ out: path.join(root, 'x'), model: 'no-model', data: ['nowhere/*.ts'] }, 'not-found', /nowhere/));
  it('weights for another number of exits than there are', () =>
    refused(
      { out: path.join(root, 'x'), exits: 'auto', exitWeights: '1,2' },
      'bad-argument',
      /^--exit-weights has 2 weights for 3 exits/,
    ));
  it('an exit with nothing to train', () =>
    refused({ out: path.join(root, 'x'), exits: '3:embedding', head: 'shared' }, 'bad-argument'));
  it.each(['evaluate', 'calibrate'] as const)('to %s with data that is not there, before the model is opened', (name) =>
    expect(
      collect<unknown>(measuring[name]({ model: 'no-model', exits: out, data: ['nowhere/*.ts'] })),
    ).rejects.toThrow(/nowhere/),
  );
  it('to go on with what is not there', () => refused({ out: path.join(root, 'x'), resume: true }, 'not-found'));
  it('to go on with other text', async () => {
    const directory = path.join(root, 'moved.exits');
    fs.cpSync(out, directory, { recursive: true });
    await refused({ out: directory, resume: true, data: ['protocol/s*.ts'] }, 'bad-data');
  });
  it('to go on with other options than its own', async () => {
    await refused({ out, resume: true, sequenceLength: 32 }, 'bad-argument');
    await refused({ out, resume: true, seed: 99 }, 'bad-argument');
  });
  it('binary data, leaving nothing behind', async () => {
    const file = path.join(root, 'data.bin');
    fs.writeFileSync(file, Buffer.alloc(1000));
    await refused({ out: path.join(root, 'x'), data: [file] }, 'bad-data');
    expect(fs.existsSync(path.join(root, 'x'))).toBe(false);
    expect(fs.readdirSync(root).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });
  it('to begin once it was aborted', async () => {
    const reason = new Error('stop');
    await expect(run({ out: path.join(root, 'x') }, AbortSignal.abort(reason))).rejects.toThrow();
    expect(fs.existsSync(path.join(root, 'x'))).toBe(false);
  });
});
