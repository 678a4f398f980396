import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { TuneEvent } from '../../../protocol/events.ts';
import { readPosition, type TrainingPosition } from '../../../backend/checkpoint/state.ts';
import { createCheckpoint, resumeCheckpoint, type CheckpointWriter } from '../../../backend/checkpoint/writer.ts';
import { baseModel, openCheckpoint, type CheckpointInfo } from '../../../backend/checkpoint/checkpoint.ts';
import { featureSource } from '../../../backend/features/features.ts';
import { windowsAt } from '../../../backend/tuning/trainer-order.ts';
import { train, type TrainerParts, type TrainerResult, type TrainerSettings } from '../../../backend/tuning/trainer.ts';
import { fakeEvaluate, fakeExits, fakeModel, fakeParameter, fakeStep, fakeWindows, tinySpec } from './fakes.ts';

let root: string;
beforeEach(() => (root = fs.mkdtempSync(path.join(os.tmpdir(), 'trainer-'))));
afterEach(() => fs.rmSync(root, { recursive: true, force: true }));

const cuts = [{ layer: 2, at: 'end' }] as const;
const windows = fakeWindows(6, 4);
const shapes = new Map([[fakeParameter, [4]]]);
const begin: TrainingPosition = {
  step: 0,
  windows: 0,
  tokens: 0,
  seconds: 0,
  best: null,
  before: [],
  data: windows.hash,
  finished: false,
};
const source = () => featureSource({ model: fakeModel(cuts), windows, cache: null });
const settings: TrainerSettings = {
  limits: { steps: 9, epochs: null, seconds: null },
  batch: 2,
  accumulation: 1,
  seed: 3,
  settings: (update, updates) => ({
    learningRate: 0.1 * (1 - update / updates),
    exitWeights: new Map([['2:norm', 0.5]]),
  }),
  evaluateEvery: 4,
};
const info: CheckpointInfo = {
  base: baseModel('tiny', tinySpec, 'c'.repeat(64)),
  exits: fakeExits,
  tuning: {},
  calibration: null,
};

async function create(directory: string, step = fakeStep()): Promise<CheckpointWriter> {
  const progress = { step: 0, tokens: 0, scores: [] };
  return createCheckpoint(directory, {
    info,
    shapes,
    state: await step.state(),
    progress,
    position: begin,
    metrics: [],
  });
}

async function collect(
  run: AsyncGenerator<TuneEvent, TrainerResult>,
  on?: (event: TuneEvent) => void,
): Promise<{ events: TuneEvent[]; result: TrainerResult }> {
  const events: TuneEvent[] = [];
  for (;;) {
    const next = await run.next();
    if (next.done) return { events, result: next.value };
    events.push(next.value);
    on?.(next.value);
  }
}

const never = new AbortController().signal;
const metrics = (directory: string): string => fs.readFileSync(path.join(directory, 'metrics.jsonl'), 'utf8');

async function whole(
  directory: string,
  change: Partial<TrainerSettings> = {},
  parts: Partial<TrainerParts> = {},
  start = begin,
) {
  const step = fakeStep();
  const checkpoint = await create(directory, step);
  const all = { step, source: source(), checkpoint, evaluate: fakeEvaluate(0.2), ...parts };
  const { events, result } = await collect(train(all, { ...settings, ...change }, start, never));
  checkpoint.close();
  return { events, result, step };
}

describe('windowsAt', () => {
  it('takes every window once an epoch, in another order each time', () => {
    const first = windowsAt(1, 10, 0, 10);
    const second = windowsAt(1, 10, 10, 10);
    expect([...first].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect([...second].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(second).not.toEqual(first);
    expect(windowsAt(2, 10, 0, 10)).not.toEqual(first);
  });

  it('takes the first windows of the first order again and again if these are the pool', () => {
    const first = windowsAt(1, 10, 0, 4);
    const [again, third] = [windowsAt(1, 10, 4, 4, 4), windowsAt(1, 10, 8, 4, 4)];
    expect(windowsAt(1, 10, 0, 4, 4)).toEqual(first);
    for (const epoch of [again, third]) expect(epoch.toSorted()).toEqual(first.toSorted());
    expect([again.join(), third.join()]).not.toEqual([first.join(), first.join()]);
    expect(windowsAt(1, 10, 3, 6, 4)).toEqual([first[3], ...again, third[0]]);
  });

  it('depends on the place alone, across epochs too', () => {
    const all = windowsAt(5, 7, 0, 40);
    for (const [from, count] of [
      [3, 2],
      [5, 9],
      [27, 1],
    ] as const) {
      expect(windowsAt(5, 7, from, count)).toEqual(all.slice(from, from + count));
    }
  });
});

describe('train', () => {
  it('reports steps and evaluations with their numbers', async () => {
    const { events, result, step } = await whole(path.join(root, 'x'));
    expect(events.map((event) => event.type).join(' ')).toBe(
      'step step step step evaluation step step step step evaluation step evaluation',
    );
    expect(result).toMatchObject({ stopped: false, position: { step: 9, windows: 18, tokens: 54, finished: true } });
    const steps = events.filter((event) => event.type === 'step');
    expect(steps.map(({ epoch }) => epoch)).toEqual([1, 1, 1, 2, 2, 2, 3, 3, 3]);
    expect(steps.map(({ learningRate }) => learningRate)).toEqual(step.rates);
    step.rates.forEach((rate, i) => expect(rate).toBeCloseTo(0.1 * (1 - i / 9), 9));
    for (const event of steps) expect(event.loss).toBeCloseTo(0.5 * event.losses['2:norm']!, 9);
    expect(step.seen).toEqual(windowsAt(3, 6, 0, 18).map((w) => (w + 1) % 16));
  });

  it('takes the windows of its pool alone, and counts epochs by it', async () => {
    const directory = path.join(root, 'x');
    const { events, step } = await whole(directory, {}, {}, { ...begin, pool: 4 });
    expect(step.seen).toEqual(windowsAt(3, 6, 0, 18, 4).map((w) => (w + 1) % 16));
    expect(new Set(step.seen).size).toBe(4);
    expect(events.filter((event) => event.type === 'step').at(-1)).toMatchObject({ epoch: 5 });
    expect(readPosition(directory).pool).toBe(4);
  });

  it('writes a line a step and an evaluation, without times', async () => {
    const directory = path.join(root, 'x');
    const { events } = await whole(directory);
    const lines = metrics(directory)
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines.map((line) => line['type'])).toEqual(events.map((event) => event.type));
    expect(Object.keys(lines[0]!)).toEqual([
      'type',
      'step',
      'epoch',
      'tokens',
      'learningRate',
      'loss',
      'losses',
      'gradientNorms',
    ]);
    expect(lines[4]).toEqual(events[4]);
  });

  it('keeps the best exits, not the last', async () => {
    // The parameter passes 0.2 on its way: later evaluations are worse.
    const directory = path.join(root, 'x');
    const { events } = await whole(directory, { evaluateEvery: 1, limits: { ...settings.limits, steps: 30 } });
    const evaluations = events.filter((event) => event.type === 'evaluation');
    const lowest = evaluations.reduce((a, b) => (b.scores[0]!.loss < a.scores[0]!.loss ? b : a));
    expect(lowest.best).toBe(true);
    expect(lowest.step).toBeLessThan(30);
    const checkpoint = openCheckpoint(directory, null);
    expect(checkpoint.progress).toEqual({
      step: lowest.step,
      tokens: lowest.tokens,
      scores: lowest.scores,
      origins: { '2:norm': lowest.step },
    });
    const [score] = await fakeEvaluate(0.2)(new Map([[fakeParameter, checkpoint.values(fakeParameter)]]));
    expect(score!.loss).toBe(lowest.scores[0]!.loss);
    checkpoint.close();
  });

  it('accumulates the passes of one update', async () => {
    const { events, step, result } = await whole(path.join(root, 'x'), {
      accumulation: 3,
      limits: { ...settings.limits, steps: 2 },
    });
    expect(step.rates).toHaveLength(2);
    expect(step.seen).toHaveLength(12);
    expect(result.position).toMatchObject({ step: 2, windows: 12, tokens: 36 });
    expect(events.filter((event) => event.type === 'step')).toHaveLength(2);
  });

  it('ends after epochs, or when its time is over', async () => {
    const epochs = await whole(path.join(root, 'a'), { limits: { steps: null, epochs: 2, seconds: null } });
    expect(epochs.result.position).toMatchObject({ step: 6, windows: 12 });
    let now = 0;
    const timed = await whole(
      path.join(root, 'b'),
      { limits: { steps: null, epochs: null, seconds: 100 }, evaluateEvery: null },
      { clock: () => (now += 0.1) },
    );
    expect(timed.result.stopped).toBe(false);
    expect(timed.result.position.seconds).toBeGreaterThan(98);
    expect(timed.result.position.seconds).toBeLessThan(102);
    expect(timed.step.rates.at(-1)).toBeLessThan(0.01);
    const evaluations = timed.events.filter((event) => event.type === 'evaluation').length;
    expect(evaluations).toBeGreaterThan(4);
    expect(evaluations).toBeLessThan(14);
  });

  it('ends sooner as soon as what follows it takes longer, and anneals to there', async () => {
    let now = 0;
    const asked: number[] = [];
    const late = (): Promise<number> => {
      asked.push(now);
      return Promise.resolve(now > 40 ? 30 : 0);
    };
    const { result, events, step } = await whole(
      path.join(root, 'x'),
      { limits: { steps: null, epochs: null, seconds: 100 }, evaluateEvery: null, late },
      { clock: () => (now += 0.1) },
    );
    expect(result).toMatchObject({ stopped: false, position: { finished: true } });
    expect(result.position.seconds).toBeGreaterThan(68);
    expect(result.position.seconds).toBeLessThan(72);
    expect(step.rates.at(-1)).toBeLessThan(0.01);
    expect(step.rates).toEqual(step.rates.toSorted((a, b) => b - a));
    expect(asked.length).toBeGreaterThan(5);
    expect(asked.length).toBeLessThan(9);
    const left = events.filter((event) => event.type === 'step').map(({ secondsLeft }) => secondsLeft);
    expect(left.at(-1)).toBeLessThan(3);
  });

  it('knows from its last sitting what its end takes', async () => {
    let now = 0;
    const limits = { steps: null, epochs: null, seconds: 100 };
    const directory = path.join(root, 'x');
    const slow: TrainerParts['evaluate'] = (parameters) => ((now += 20), fakeEvaluate(0.2)(parameters));
    const clock = (): number => (now += 0.1);
    const first = await whole(directory, { limits, evaluateEvery: 3 }, { evaluate: slow, clock });
    expect(first.result.position.seconds).toBeLessThan(102);
    const { ending } = readPosition(directory);
    expect(ending?.evaluation).toBeCloseTo(20, 0);
    const step = fakeStep();
    const checkpoint = await create(path.join(root, 'y'), step);
    const parts = { step, source: source(), checkpoint, evaluate: slow, clock };
    const start = { ...begin, seconds: 85, ending: ending! };
    const { events } = await collect(train(parts, { ...settings, limits }, start, never));
    checkpoint.close();
    expect(events).toEqual([]);
  });

  it('keeps the work done when it is stopped, and then goes on as if it had not been', async () => {
    const reference = path.join(root, 'reference');
    await whole(reference);
    const directory = path.join(root, 'x');
    const step = fakeStep();
    const checkpoint = await create(directory, step);
    const abort = new AbortController();
    const { events, result } = await collect(
      train({ step, source: source(), checkpoint, evaluate: fakeEvaluate(0.2) }, settings, begin, abort.signal),
      (event) => event.type === 'step' && event.step === 6 && abort.abort(),
    );
    checkpoint.close();
    expect(result).toMatchObject({ stopped: true, position: { step: 6, finished: false } });
    expect(events.at(-1)).toMatchObject({ type: 'evaluation', step: 6 });
    const opened = openCheckpoint(directory, null);
    expect(opened.progress.step).toBe(6);
    opened.close();

    const later = fakeStep();
    const resumed = resumeCheckpoint(directory, info, shapes, opened.progress);
    await later.restore(resumed.state);
    const parts = { step: later, source: source(), checkpoint: resumed.writer, evaluate: fakeEvaluate(0.2) };
    await collect(train(parts, settings, resumed.position, never));
    resumed.writer.close();
    expect(metrics(directory)).toBe(metrics(reference));
  });

  it('ends the same where it was killed in its last evaluation', async () => {
    const reference = path.join(root, 'reference');
    await whole(reference);
    const directory = path.join(root, 'x');
    const step = fakeStep();
    const checkpoint = await create(directory, step);
    const killed = async (parameters: Parameters<TrainerParts['evaluate']>[0]) => {
      if (step.rates.length === 9) throw new Error('killed');
      return fakeEvaluate(0.2)(parameters);
    };
    // Its state is saved after every update.
    let now = 0;
    const parts = { step, source: source(), checkpoint, evaluate: killed, clock: () => now };
    await expect(collect(train(parts, settings, begin, never), () => now++)).rejects.toThrow('killed');
    checkpoint.close();

    const opened = openCheckpoint(directory, null);
    opened.close();
    const later = fakeStep();
    const resumed = resumeCheckpoint(directory, info, shapes, opened.progress);
    await later.restore(resumed.state);
    const rest = { step: later, source: source(), checkpoint: resumed.writer, evaluate: fakeEvaluate(0.2) };
    const { result } = await collect(train(rest, settings, resumed.position, never));
    resumed.writer.close();
    expect(result).toMatchObject({ stopped: false, position: { step: 9, finished: true } });
    expect(metrics(directory)).toBe(metrics(reference));
    for (const file of ['exits.safetensors', 'exits.json'])
      expect(fs.readFileSync(path.join(directory, file)), file).toEqual(fs.readFileSync(path.join(reference, file)));
  });

  it('drops the gradients of an update that a stop cut short', async () => {
    const directory = path.join(root, 'x');
    const step = fakeStep();
    const checkpoint = await create(directory, step);
    const abort = new AbortController();
    const cutting = {
      ...step,
      accumulate: (...args: Parameters<typeof step.accumulate>) => (abort.abort(), step.accumulate(...args)),
    };
    const parts = { step: cutting, source: source(), checkpoint, evaluate: fakeEvaluate(0.2) };
    const { result, events } = await collect(train(parts, { ...settings, accumulation: 2 }, begin, abort.signal));
    checkpoint.close();
    expect(events).toEqual([]);
    expect(result).toMatchObject({ stopped: true, position: { step: 0, windows: 0, tokens: 0 } });
  });
});
