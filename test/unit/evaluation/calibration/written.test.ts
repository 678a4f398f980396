/** Calibrations of a small model whose exits remember: what they choose is judged on text of other beginnings. */
import { afterAll, expect, test } from 'vitest';
import type { Promised } from '../../../../protocol/options/promise.ts';
import { observeExits } from '../../../../backend/decoding/leaving/observe.ts';
import { seededRandom } from '../../../../backend/decoding/sampling/random.ts';
import { openSession } from '../../../../backend/decoding/session.ts';
import type { Priced } from '../../../../backend/evaluation/calibration/calibration.ts';
import type { ExitObservations } from '../../../../backend/evaluation/calibration/gates.ts';
import { noTimeLimit } from '../../../../backend/evaluation/calibration/calibration-texts.ts';
import { fewestJudged, judgedBy } from '../../../../backend/evaluation/calibration/promise.ts';
import { leavingBy } from '../../../../backend/evaluation/calibration/trial.ts';
import {
  canJudge,
  judgeInOrder,
  judgeWritten,
  ladderOf,
  leastSaved,
  type Judge,
  type Judgement,
  type Judging,
} from '../../../../backend/evaluation/calibration/written.ts';
import type { ExitSpec } from '../../../../backend/exits/spec.ts';
import { openStagedModel } from '../../../../backend/runtime/open.ts';
import { decodeAll, idsOf, judgedIn, plainRequest } from '../../../support/decoding.ts';
import { overlayParameters } from '../../../../backend/model/overlay.ts';
import type { Model } from '../../../../backend/model/open.ts';
import { copiedExits, idCodec, tinyModel, withMemories } from '../../../support/models.ts';

const specs: ExitSpec[] = [
  { layer: 2, architecture: 'norm', head: { kind: 'shared' } },
  { layer: 3, architecture: 'norm', head: { kind: 'shared' } },
];
/** A model whose last layers say little, as those of a large one do, and which is sure: its exits are right often enough to leave on probation. */
function withQuietEnd(): Model {
  const model = tinyModel();
  const quiet = ['layers.2', 'layers.3'].flatMap((layer) =>
    ['self_attn.o_proj', 'mlp.down_proj'].map((name) => `${layer}.${name}.weight`),
  );
  const scaled = (name: string, scale: number) => {
    const data = model.parameters.values(name).map((value) => scale * value);
    return [name, { shape: model.parameters.shape(name), data }] as const;
  };
  const overlay = new Map([...quiet.map((name) => scaled(name, 0.2)), scaled('norm.weight', 6)]);
  return { ...model, parameters: overlayParameters(model.parameters, overlay) };
}
const model = withQuietEnd();
const staged = await openStagedModel(model, withMemories(model, copiedExits(model, specs)));
afterAll(async () => {
  await staged.dispose();
  model.close();
});

const costs = { stages: [2, 1, 1], deferred: [1.5, 0.8, 0.8], readings: [0.1, 0.1, 1], fills: [0.05, 0.05, null] };
const tokenizer = { ...idCodec, eosIds: [] } as unknown as Parameters<typeof judgeWritten>[0]['tokenizer'];
const { signal } = new AbortController();

async function finished<T>(steps: AsyncGenerator<unknown, T>): Promise<T> {
  for (;;) {
    const next = await steps.next();
    if (next.done) return next.value;
  }
}

async function calibrated(
  promise: Promised,
  seed: number,
  hasTime: Judging['hasTime'] = () => true,
  passes = costs,
): Promise<Judgement & { fresh: number[][] }> {
  const random = seededRandom(seed);
  const prompts = (count: number): number[][] =>
    Array.from({ length: count }, () => Array.from({ length: 6 }, () => Math.floor(random() * model.spec.vocabulary)));
  const written = (await finished(observeExits(staged, prompts(8), 32, []))).flat();
  const observed = staged.exits.slice(0, -1).map(({ id, stages }, k): ExitObservations => ({
    exit: id,
    stages,
    regret: written.map(({ observations }) => observations[k]!.regret),
    confidence: written.map(({ observations }) => observations[k]!.confidence),
    deferred: written.map(() => 0),
    states: written.map(({ observations }) => observations[k]!.state),
  }));
  const on = {
    tokenizer,
    staged,
    observed,
    hints: new Map(),
    trust: [],
    costs: passes,
    prompts: prompts(32),
    learnedAnswers: false,
    hasTime,
  };
  const request = { promise, certainty: 0.95, tokens: 512, time: noTimeLimit };
  return { ...(await finished(judgeWritten(on, request, signal))), fresh: prompts(8) };
}

test('a promise is kept on text of other beginnings', async () => {
  const promise: Promised = { measure: 'regret', limit: 0.4 };
  const found: string[] = [];
  for (const seed of [1, 2, 3]) {
    const { kept, fresh } = await calibrated(promise, seed);
    if (kept === null) continue;
    const session = openSession(staged, { rows: fresh.length });
    const { tokens } = await decodeAll(session, plainRequest(fresh, 128, leavingBy(kept)));
    const texts = fresh.map((prompt, i) => ({ prompt, text: idsOf(tokens[i]!) }));
    const regrets = (await judgedIn(session, texts)).flat();
    session.dispose();
    expect(judgedBy(regrets).regret.value).toBeLessThan(promise.limit);
    found.push(...tokens.flat().map(({ exit }) => exit));
  }
  // Some leave, some do not.
  expect(new Set(found).size).toBeGreaterThan(1);
}, 300_000);

test.each([0, 1])('if the time ends, after %i looks at it, nothing is kept, and the reason is known', async (looks) => {
  let left = looks;
  const ended = await calibrated({ measure: 'regret', limit: 0.4 }, 1, () => left-- > 0);
  expect(ended).toMatchObject({ kept: null, isLate: true });
});

test('if even the most cautious thresholds may break the promise, what their text has shown is told', async () => {
  const { kept, isLate, broken } = await calibrated({ measure: 'regret', limit: 0.003 }, 1);
  expect({ kept, isLate }).toEqual({ kept: null, isLate: false });
  expect(broken?.regret.value).toBeGreaterThanOrEqual(0);
  expect(broken?.regret.error).toBeGreaterThanOrEqual(0);
  expect(await calibrated({ measure: 'regret', limit: 0.4 }, 1)).toMatchObject({ broken: null });
});

test('if the planned time is over, what the promise needs is done, and no bolder thresholds are judged', async () => {
  const promise: Promised = { measure: 'regret', limit: 0.4 };
  const firsts: boolean[] = [];
  const all = await calibrated(promise, 2, (_, isFirst) => firsts.push(isFirst) > 0);
  expect(firsts).toContain(false);
  expect(all).toMatchObject({ isLate: false });
  const first = await calibrated(promise, 2, (_, isFirst) => isFirst);
  expect(first).toMatchObject({ isLate: true });
  expect(Object.keys(first.kept!.thresholds).length).toBeGreaterThan(0);
});

test('where leaving could save hardly anything, nothing is judged', async () => {
  const looks: number[] = [];
  const idle = {
    stages: [4, 0.01, 0.01],
    deferred: [0.02, 0.01, 0.01],
    readings: [0.02, 0.02, 0.1],
    fills: [0, 0, null],
  };
  const judging = calibrated({ measure: 'regret', limit: 0.4 }, 1, (seconds) => looks.push(seconds) > 0, idle);
  expect(await judging).toMatchObject({ kept: null, isLate: false, broken: null });
  expect(looks).toEqual([]);
});

test('a candidate must make a token 3 % faster in its own text', () => {
  expect(leastSaved(10.3, 0)).toBeCloseTo(0.3, 12);
  expect((20 - 3) / (20 - leastSaved(20, 3))).toBeCloseTo(1.03, 12);
});

const candidate = (milliseconds: number, loss: number): Priced => ({ thresholds: { a: 0.9 }, milliseconds, loss });

test('candidates are a step of 5 % apart, from full depth on', () => {
  const ladder = (...priced: Priced[]): number[] => ladderOf(priced, 0.01, 10).map(({ milliseconds }) => milliseconds);
  // The first is the fastest that is expected to lose a tenth of what is allowed.
  expect(ladder(candidate(9.4, 0.0005), candidate(9.2, 0.001), candidate(9, 0.002), candidate(8.6, 0.004))).toEqual([
    9.2, 8.6,
  ]);
  // If that hardly saves anything, a bolder one is the first.
  expect(ladder(candidate(9.8, 0.001), candidate(9.3, 0.003), candidate(8.8, 0.02), candidate(8, 0.03))).toEqual([
    9.3, 8.8,
  ]);
  expect(ladder(candidate(9.8, 0.001), candidate(9.6, 0.02))).toEqual([]);
  expect(ladder()).toEqual([]);
});

/** Judges candidates by their verdicts; notes which were judged, and beside which that was kept before. */
async function judgedInOrder(...verdicts: readonly (number | 'broken' | 'slower' | 'late')[]) {
  const judged: (readonly [string | number, number | null])[] = [];
  const judge: Judge<never, number | 'broken' | 'slower' | 'late', { saves: number }> = async function* (one, kept) {
    judged.push([one, kept?.saves ?? null]);
    return typeof one === 'number' ? { saves: one } : one;
  };
  const { kept, isLate } = await finished(judgeInOrder(verdicts, judge));
  return { kept: kept?.saves ?? null, isLate, judged };
}

test('candidates are judged from the most cautious on until one fails; the last one before is kept', async () => {
  expect(await judgedInOrder(3, 4, 'broken', 9)).toEqual({
    kept: 4,
    isLate: false,
    judged: [
      [3, null],
      [4, 3],
      ['broken', 4],
    ],
  });
  expect(await judgedInOrder(3, 'late', 9)).toMatchObject({ kept: 3, isLate: true });
  expect(await judgedInOrder('broken', 9)).toMatchObject({ kept: null, isLate: false });
  expect(await judgedInOrder('late')).toMatchObject({ kept: null, isLate: true });
  expect(await judgedInOrder()).toEqual({ kept: null, isLate: false, judged: [] });
});

test('a candidate that is too slow in its own text does not end the search, and none is compared with it', async () => {
  expect(await judgedInOrder(2, 'slower', 4)).toEqual({
    kept: 4,
    isLate: false,
    judged: [
      [2, null],
      ['slower', 2],
      [4, 2],
    ],
  });
});

test('texts are too few to judge if even without a loss they could prove nothing', () => {
  const request = { promise: { measure: 'regret', limit: 0.02 }, certainty: 0.95 } as const;
  const fewest = Math.ceil(fewestJudged(request) / 128);
  expect(canJudge(fewest - 1, request)).toBe(false);
  expect(canJudge(fewest, request)).toBe(true);
});
