import { expect, test } from 'vitest';
import {
  calibrationLimit,
  measureSpeeds,
  measureTokens,
  planSitting,
  tooShort,
} from '../../../../backend/recipes/training/plan.ts';
import type { FeatureSource } from '../../../../backend/features/features.ts';
import type { ExitScorer } from '../../../../backend/runtime/open.ts';
import { cutName, finalCut } from '../../../../backend/model/spec.ts';
import { openModel } from '../../../../backend/model/open.ts';
import { planMinutes } from '../../../../backend/tuning/plan.ts';
import type { TuneEvent } from '../../../../protocol/events.ts';
import { parseOptions } from '../../../../protocol/options/options.ts';

test('what opens a thing is not timed with what it costs from then on', async () => {
  const model = openModel('models/typescript-5m');
  const { spec } = model;
  model.close();
  let clock = 0;
  /** A second to begin with, and a tenth from then on. */
  const slowAtFirst = <T>(value: T): (() => Promise<T>) => {
    let seconds = 1;
    return () => {
      clock += seconds;
      seconds = 0.1;
      return Promise.resolve(value);
    };
  };
  const tokens = 512;
  const features = new Map([[cutName(finalCut(spec)), new Float32Array(tokens * spec.hidden)]]);
  let computed = 0;
  const batch = slowAtFirst({ features });
  const source = {
    ...{ windows: { count: 8, tokens }, computed: () => computed },
    batch: () => (computed++, batch()),
  } as unknown as FeatureSource;
  const scorer = { score: slowAtFirst({}) } as unknown as ExitScorer;
  const measured = await measureTokens(slowAtFirst(undefined), slowAtFirst(scorer), spec, 0.5, () => clock);
  // The backbone's first step and the scorer are opened.
  expect(measured.times.opening).toBeCloseTo(0.9 + 1, 6);
  expect(measured.times.fullPass).toBeCloseTo(0.1 + 0.1, 6);
  expect(measured.times.ofPrompt).toBeCloseTo(0.1 / 64, 6);
  expect(measured.times.aToken).toBeCloseTo((0.1 + 1.5 * 0.1) / 16, 6);
  const speeds = await measureSpeeds(source, spec, measured, 1, () => clock);
  expect(speeds.window).toBeCloseTo(0.1, 6);
  expect(speeds.scoring).toBeCloseTo(0.4, 6);
});

test('windows that an earlier run has left in the cache do not say how fast the model is, nor does a busy moment', async () => {
  const model = openModel('models/typescript-5m');
  const { spec } = model;
  model.close();
  const tokens = 64;
  const features = new Map([[cutName(finalCut(spec)), new Float32Array(tokens * spec.hidden)]]);
  /** `seconds`: of each window that is computed, from the first on; the last of them from then on. */
  const speedOf = async (cached: number, seconds = [5, 2]): Promise<number> => {
    let [clock, looked, computed] = [0, 0, 0];
    const batch = () => {
      const isCached = looked++ < cached;
      clock += isCached ? 0.01 : (seconds[computed] ?? seconds.at(-1)!);
      computed += Number(!isCached);
      return Promise.resolve({ features });
    };
    const source = { windows: { count: 50, tokens }, batch, computed: () => computed } as unknown as FeatureSource;
    const scorer = { score: () => Promise.resolve({}) } as unknown as ExitScorer;
    return (await measureSpeeds(source, spec, { scorer, scorerOpening: 0 }, 1, () => clock)).window;
  };
  for (const cached of [0, 1, 2, 30]) expect(await speedOf(cached)).toBeCloseTo(2);
  expect(await speedOf(50)).toBeCloseTo(0.01);
  // Of windows that take some seconds two are timed, of longer ones one.
  expect(await speedOf(0, [5, 2.5, 1])).toBeCloseTo(1);
  expect(await speedOf(0, [9, 8, 1])).toBeCloseTo(8);
});

test('minutes of a preset that are too few become as many as calibrated exits need, and minutes that are given do not', async () => {
  const opened = openModel('models/typescript-5m');
  const { spec, name } = opened;
  opened.close();
  let clock = 0;
  const taking =
    <T>(seconds: number, value: T) =>
    (): Promise<T> => {
      clock += seconds;
      return Promise.resolve(value);
    };
  const tokens = 512;
  const features = new Map([[cutName(finalCut(spec)), new Float32Array(tokens * spec.hidden)]]);
  let computed = 0;
  const batch = taking(2, { features });
  const states = {
    ...{ windows: { count: 200, tokens }, batch: () => (computed++, batch()) },
    computed: () => computed,
  } as unknown as FeatureSource;
  const scorer = { score: taking(0.05, {}) } as unknown as ExitScorer;
  /** `slowFor`: seconds in which the backbone takes eight times as long. */
  const sitting = async (given: Record<string, unknown>, seconds: number, slowFor = 0) => {
    clock = 0;
    const planning = planSitting(
      parseOptions('tune', given),
      {
        ...{ model: { name, spec }, exits: [], states, step: () => taking(clock < slowFor ? 0.8 : 0.1, undefined)() },
        openScorer: taking(1, scorer),
        ...{ heldOutWindows: 16, isNew: true, remembers: true },
      },
      seconds,
      () => {},
      () => clock,
      new AbortController().signal,
    );
    const events: TuneEvent[] = [];
    for (;;) {
      const next = await planning.next();
      if (next.done) return { events, ...next.value };
      events.push(next.value);
    }
  };
  const extended = await sitting({ preset: 'quick' }, 60);
  expect(extended.plan!.lacks).toEqual([]);
  expect(extended.seconds).toBeGreaterThan(60);
  const { minutes } = extended.events.find((event) => event.type === 'minutes')!;
  expect(minutes).toBe(extended.seconds / 60);
  expect(extended.events.find((event) => event.type === 'note')!.message).toMatch(
    new RegExp(`^A minute is too few here for .*, so quick takes ${minutes}\\. --minutes sets another limit\\.$`),
  );
  const enough = await sitting({ preset: 'quick' }, 60 * minutes);
  expect(enough.seconds).toBe(60 * minutes);
  expect(enough.events.some((event) => event.type === 'note')).toBe(false);
  // The first seconds of a machine that was busy then do not count: minutes are whole, and there are some seconds of them more.
  const busy = await sitting({ preset: 'quick' }, 60, 10);
  expect(busy.seconds - extended.seconds).toBeLessThanOrEqual(60);
  const limited = await sitting({ minutes: 1 }, 60);
  expect(limited.seconds).toBe(60);
  expect(limited.events.some((event) => event.type === 'warning')).toBe(true);
  // What a promise needs may take longer than planned on a busy machine, but no longer than a given limit.
  expect(calibrationLimit(parseOptions('tune', { preset: 'quick' }), 20)).toEqual({ planned: 20, most: 40 });
  expect(calibrationLimit(parseOptions('tune', { minutes: 1 }), 20)).toEqual({ planned: 20, most: 20 });
});

test('a plan that is cancelled ends before its next measurement, and what it opened is closed', async () => {
  const opened = openModel('models/typescript-5m');
  const { spec, name } = opened;
  opened.close();
  const stopping = new AbortController();
  const done: string[] = [];
  const scorer = {
    score: async () => (done.push('score'), stopping.abort(new Error('stopped'))),
    dispose: async () => void done.push('dispose'),
  } as unknown as ExitScorer;
  const closing: (() => void | Promise<void>)[] = [];
  const planning = planSitting(
    parseOptions('tune', { minutes: 1 }),
    {
      ...{ model: { name, spec }, exits: [], states: {} as FeatureSource, step: async () => {} },
      openScorer: () => Promise.resolve(scorer),
      ...{ heldOutWindows: 16, isNew: true, remembers: true },
    },
    60,
    (close) => void closing.push(close),
    () => 0,
    stopping.signal,
  );
  await planning.next();
  await expect(planning.next()).rejects.toThrow('stopped');
  for (const close of closing) await close();
  expect(done).toEqual(['score', 'dispose']);
});

test('one sentence says what the minutes of a run have no room for, and how many would have', () => {
  const speeds = { spent: 10, window: 5, scorerOpening: 1, scoring: 1 };
  const request = {
    tokens: 512,
    evaluationTokens: 8192,
    heldOutWindows: 16,
    windows: 100,
    fitTokens: 80_000,
    perUpdate: 2,
    distils: true,
    keepsStates: false,
    headShare: 0.5,
    calibration: { least: 12, usual: 20 },
  };
  const adviceFor = (minutes: number, fit = true): string | null => {
    const plan = planMinutes(speeds, { ...request, seconds: 60 * minutes, ...(fit ? {} : { fitTokens: null }) });
    return tooShort('m.gguf', plan, minutes);
  };
  expect(adviceFor(0.3)).toMatch(
    /^0\.3 minutes are too few here for a fit, 10 updates and a calibration of m\.gguf's exits; about (\d+) suffice \(--minutes \1\)\.$/,
  );
  expect(adviceFor(1)).toMatch(/^A minute is too few here for 10 updates and a calibration of m\.gguf's exits; about /);
  expect(adviceFor(1, false)).toMatch(/^A minute is too few here for 10 updates/);
  for (const fit of [true, false]) {
    const enough = Number(/--minutes (\d+)/.exec(adviceFor(0.5, fit)!)![1]);
    expect(adviceFor(enough, fit)).toBeNull();
  }
  expect(adviceFor(30)).toBeNull();
});
