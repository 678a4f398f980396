/** Calibrated exits prove themselves in each text before they decide, and keep being checked. */
import { expect, test } from 'vitest';
import type { TokenRecord } from '../../../../protocol/trace.ts';
import { hintsBehind } from '../../../../backend/data/hints.ts';
import {
  judgedTokens,
  lag,
  newProbation,
  type Check,
  type Probation,
} from '../../../../backend/decoding/leaving/probation.ts';
import type { BatchRequest } from '../../../../backend/decoding/batch.ts';
import { rereading } from '../../../../backend/decoding/prompts/reread.ts';
import { checksOf } from '../../../../backend/decoding/prompts/prompt-checks.ts';
import { openKvCache } from '../../../../backend/decoding/cache/kv-cache.ts';
import { openSession, type Session } from '../../../../backend/decoding/session.ts';
import type { TextCodec } from '../../../../backend/decoding/text.ts';
import type { Trust } from '../../../../backend/decoding/leaving/trust.ts';
import type { ExitSpec } from '../../../../backend/exits/spec.ts';
import type { Model } from '../../../../backend/model/open.ts';
import { openStagedModel } from '../../../../backend/runtime/open.ts';
import type { ExitPoint } from '../../../../backend/runtime/staged-model.ts';
import { confidenceAt, decodeAll, eagerSession, plainRequest } from '../../../support/decoding.ts';
import { copiedExits, idCodec, tinyModel, withMemories } from '../../../support/models.ts';

const exitOf = (tokens: readonly number[] | null): ExitPoint => ({
  ...{ id: '2:lens', layer: 2, stages: 1, reads: 0, remembers: false, readsUnlisted: false },
  spec: { layer: 2, architecture: 'lens', head: tokens ? { kind: 'shortlist', tokens } : { kind: 'shared' } },
});
const range = (length: number): number[] => [...Array(length).keys()];
const rights = (count: number): boolean[] => Array<boolean>(count).fill(true);
const lens = exitOf(null);
const on = (prompt: readonly number[], checks: Check[] = []): Probation => newProbation(prompt, checks);

/** Checks from place `from` of the text on, one at each place. */
function check(probation: Probation, from: number, results: readonly boolean[]): void {
  for (const [i, isRight] of results.entries())
    probation.checked(lens.id, from + i, { confidence: 0.9, agreesClearly: false, isRight });
}
const standings = (probation: Probation, places: readonly number[]): string[] =>
  places.map((place) => probation.standing(lens, place, false));
/** Checks of the tokens of a prompt from a position on. */
const within = (from: number, results: readonly boolean[]): Check[] =>
  results.map((isRight, i) => ({
    exit: lens.id,
    position: from + i,
    confidence: 0.9,
    isSure: true,
    agreesClearly: false,
    isRight,
  }));

test('an exit decides once the full model has agreed eight times, as far back as no pass reaches', () => {
  const probation = on([]);
  check(probation, 1, rights(8));
  const proven = 8 + lag;
  expect(standings(probation, [1, proven, proven + 1])).toEqual(['checked', 'checked', 'decides']);
});

test('what the end of the prompt shows counts from the first token on', () => {
  const prompt = range(200);
  const judgedFrom = 200 - judgedTokens;
  expect(standings(on(prompt, within(judgedFrom, rights(8))), [0, 14])).toEqual(['decides', 'decides']);
  expect(standings(on(prompt, within(judgedFrom - 1, rights(8))), [0, 14])).toEqual(['checked', 'checked']);
  expect(standings(on(prompt, within(150, [...rights(24), false])), [1])).toEqual(['decides']);
  expect(standings(on(prompt, within(150, [...rights(12), false, ...rights(8)])), [1])).toEqual(['checked']);
  expect(standings(on(prompt, within(150, [...rights(8), false, false, false])), [1])).toEqual(['off']);
});

test('an exit that contradicts the full model as often as its probabilities allow is not asked, however sure it was right', () => {
  const prompt = range(200);
  const doubts = (wrong: number): Check[] =>
    range(20).map((i) => ({
      exit: lens.id,
      position: 130 + i,
      confidence: 0.5,
      isSure: false,
      agreesClearly: false,
      isRight: i >= wrong,
    }));
  const standing = (wrong: number): string =>
    on(prompt, [...within(120, rights(8)), ...doubts(wrong)]).standing(lens, 0, false);
  // Of the 10.8 contradictions that its probabilities allow, 10 are few enough.
  expect([0, 10, 11, 20].map(standing)).toEqual(['decides', 'decides', 'off', 'off']);
});

test('the more of the prompt an exit could not have said, the fewer contradictions are allowed', () => {
  const doubts = (wrong: number, position: number): Check[] =>
    range(20).map((i) => ({
      exit: lens.id,
      position,
      confidence: 0.5,
      isSure: false,
      agreesClearly: false,
      isRight: i >= wrong,
    }));
  const fewEnough = (exit: ExitPoint, prompt: readonly number[]): number =>
    range(20).filter((wrong) => on(prompt, doubts(wrong, prompt.length - 1)).standing(exit, 0, false) !== 'off')
      .length - 1;
  const listed = exitOf(range(180));
  expect(fewEnough(listed, range(200))).toBe(6);
  expect(fewEnough(listed, [...range(180), ...range(20)])).toBe(9);
  // The same strange token twenty times: an exit that reads the text could have said it but once.
  const repeated = [...range(180), ...Array<number>(20).fill(500)];
  expect(fewEnough(listed, repeated)).toBe(6);
  expect(fewEnough({ ...listed, readsUnlisted: true }, repeated)).toBe(9);
  // An exit without a list could have said all of it.
  expect(fewEnough(lens, range(200))).toBe(9);
  // Of a short prompt a few tokens say little.
  expect(fewEnough(listed, [1, 2, 500])).toBe(8);
});

test('the more of the prompt an exit could not have said, the more checks must have been right', () => {
  // Of a prompt of two hundred tokens, this many are strange.
  const standing = (strange: number, checks: number): string => {
    const prompt = range(200);
    return on(prompt, within(20, rights(checks))).standing(exitOf(range(200 - strange)), 0, false);
  };
  expect([8, 9, 26, 31].map((checks) => standing(0, checks))).toEqual(Array(4).fill('decides'));
  expect([25, 26].map((checks) => standing(20, checks))).toEqual(['checked', 'decides']);
  // 26 of 200 need 31.4 of the 32 checks that count; one more is too strange for any number.
  expect([31, 32].map((checks) => standing(26, checks))).toEqual(['checked', 'decides']);
  expect([0, 32, 150].map((checks) => standing(27, checks))).toEqual(['off', 'off', 'off']);
});

test('one token in sixteen is checked all the same', () => {
  const probation = on(range(20), within(10, rights(9)));
  const checked = range(100).filter((place) => probation.standing(lens, place, false) === 'checked');
  expect(checked).toEqual([15, 31, 47, 63, 79, 95]);
});

test('a wrong check outweighs sixteen right ones, a long record is no licence, and off is off', () => {
  const probation = on([]);
  check(probation, 0, [...rights(100), false, false]);
  expect(standings(probation, [101 + lag, 102 + lag])).toEqual(['decides', 'checked']);
  check(probation, 102, rights(8));
  expect(standings(probation, [110 + lag])).toEqual(['decides']);
  check(probation, 110, [false, false, false]);
  check(probation, 113, rights(100));
  expect(standings(probation, [110 + lag, 113 + lag, 300])).toEqual(['decides', 'off', 'off']);
});

test('what agrees with a clear hint of the text needs no proof, but is off like all else', () => {
  const at = (probation: Probation, place: number): string => probation.standing(lens, place, true);
  const contradicting = range(20).map((i) => ({ ...within(100 + i, [false])[0]!, confidence: 0.5, isSure: false }));
  const strange = on(range(200), contradicting);
  expect([strange.standing(lens, 0, false), at(strange, 0), at(strange, 15)]).toEqual(['off', 'decides', 'checked']);
  const agreeing = (place: number, isRight: boolean) =>
    strange.checked(lens.id, place, { confidence: 0.9, agreesClearly: true, isRight });
  agreeing(15, false);
  expect([at(strange, 15 + lag), at(strange, 16 + lag)]).toEqual(['decides', 'checked']);
  for (const place of range(16)) agreeing(16 + place, true);
  expect(at(strange, 32 + lag)).toBe('decides');
  for (const place of range(3)) agreeing(40 + place, false);
  for (const place of range(60)) agreeing(43 + place, true);
  expect(at(strange, 200)).toBe('off');
});

const { layers } = tinyModel().spec;
/** Behind the last layer an exit says what the model says; behind the second it hardly ever does. */
const exitsAt = (layer: number) =>
  copiedExits(tinyModel(), [{ layer, architecture: 'norm', head: { kind: 'shared' } }]);
const prompts = [
  [5, 9, 2, 14],
  [7, 3, 1],
];
const leaving = { policy: confidenceAt(0.02), onProbation: true };
const summary = (tokens: readonly TokenRecord[][]): string[][] =>
  tokens.map((text) => text.map(({ id, exit }) => `${id}@${exit}`));

test.each([
  ['agrees', layers.length, true],
  ['does not', 2, false],
])('an exit that %s with the full model: drafts and other texts change nothing', async (_, layer, agrees) => {
  const staged = await openStagedModel(tinyModel(), exitsAt(layer));
  const { tokens } = await decodeAll(openSession(staged), plainRequest(prompts, 60, leaving));
  const full = await decodeAll(openSession(staged), plainRequest(prompts, 60, { enabled: () => false }));
  for (const [row, text] of tokens.entries()) {
    const first = text.findIndex(({ exit }) => exit !== 'final');
    if (agrees) expect(first).toBeGreaterThan(lag);
    else expect(first).toBe(-1);
    const before = text.slice(0, first === -1 ? text.length : first).map(({ id }) => id);
    expect(before).toEqual(full.tokens[row]!.slice(0, before.length).map(({ id }) => id));
  }
  // As right drafts as there can be: the texts themselves.
  const others = full.tokens.map((text, row) => [...prompts[row]!, ...text.map(({ id }) => id)]);
  const drafting = { ...leaving, drafts: { lookup: true, exits: () => false, limit: 3 * lag, others } };
  const drafted = await decodeAll(eagerSession(staged), plainRequest(prompts, 60, drafting));
  expect(summary(drafted.tokens)).toEqual(summary(tokens));
  for (const [row, prompt] of prompts.entries()) {
    const alone = await decodeAll(openSession(staged), plainRequest([prompt], 60, leaving));
    expect(summary(alone.tokens)[0]).toEqual(summary(tokens)[row]);
  }
});

test('with hints, drafts and other texts change nothing either; what agrees with them leaves from the first token on', async () => {
  const staged = await openStagedModel(tinyModel(), exitsAt(layers.length));
  const weights = { agrees: 0, agreesClearly: 20, contradicts: -20, contradictsClearly: -20 };
  // Behind the first of these the model repeats itself after some forty tokens.
  const repeating = [[21, 9, 50], prompts[1]!];
  const hinting = { ...leaving, policy: confidenceAt(0.9), hints: new Map([[`${layers.length}:norm`, weights]]) };
  const { tokens } = await decodeAll(openSession(staged), plainRequest(repeating, 100, hinting));
  expect(new Set(tokens.flat().map(({ exit }) => exit))).toEqual(new Set([`${layers.length}:norm`, 'final']));
  const others = tokens.map((text, row) => [...repeating[row]!, ...text.map(({ id }) => id)]);
  const drafting = { ...hinting, drafts: { lookup: true, exits: () => false, limit: 3 * lag, others } };
  const drafted = await decodeAll(eagerSession(staged), plainRequest(repeating, 100, drafting));
  expect(summary(drafted.tokens)).toEqual(summary(tokens));
  for (const [row, prompt] of repeating.entries()) {
    const alone = await decodeAll(openSession(staged), plainRequest([prompt], 100, hinting));
    expect(summary(alone.tokens)[0]).toEqual(summary(tokens)[row]);
  }
});

/** The stream says the same everywhere: every clear hint is trusted. */
const everyClearHint = ({ spec }: Model): Trust => ({
  direction: new Float32Array(spec.hidden + 1).fill(1, -1),
  weights: { always: 3, trust: 1, matched: 0, votes: 0 },
  least: 0.5,
  isAlone: true,
});

test('what leaves with clear hints reads no head, is checked, and neither drafts nor other texts change it', async () => {
  const model = tinyModel();
  const exits = withMemories(model, exitsAt(2));
  const staged = await openStagedModel(model, exits);
  const trusting = (least: number) => ({
    ...{ policy: confidenceAt(1), onProbation: true, remembers: true },
    trust: new Map([['2:norm', { ...everyClearHint(model), least }]]),
  });
  const repeating = [[21, 9, 50], prompts[1]!];
  const { tokens } = await decodeAll(openSession(staged), plainRequest(repeating, 100, trusting(0.5)));
  const left = tokens[0]!.filter(({ exit }) => exit === '2:norm');
  expect(left.length).toBeGreaterThan(10);
  for (const { confidence } of left) expect(confidence).toBeCloseTo(1 / (1 + Math.exp(-4)), 6);
  for (const [row, prompt] of repeating.entries()) {
    const hints = hintsBehind([...prompt, ...tokens[row]!.map(({ id }) => id)], prompt.length - 1);
    for (const [i, { id, exit }] of tokens[row]!.entries())
      if (exit === '2:norm') expect(hints[i]).toMatchObject({ token: id, isClear: true });
  }
  const places = tokens[0]!.flatMap(({ exit }, i) => (exit === 'final' ? [] : [i]));
  expect(places.filter((i) => (i + 1) % 16 === 0)).toEqual([]);

  const others = tokens.map((text, row) => [...repeating[row]!, ...text.map(({ id }) => id)]);
  const drafting = { ...trusting(0.5), drafts: { lookup: true, exits: () => false, limit: 3 * lag, others } };
  const drafted = await decodeAll(eagerSession(staged), plainRequest(repeating, 100, drafting));
  expect(summary(drafted.tokens)).toEqual(summary(tokens));
  const reported = await decodeAll(
    openSession(staged),
    plainRequest(repeating, 100, { ...trusting(0.5), candidates: 1 }),
  );
  expect(summary(reported.tokens)).toEqual(summary(tokens));
  for (const [row, prompt] of repeating.entries()) {
    const alone = await decodeAll(openSession(staged), plainRequest([prompt], 100, trusting(0.5)));
    expect(summary(alone.tokens)[0]).toEqual(summary(tokens)[row]);
  }
  const doubting = await decodeAll(openSession(staged), plainRequest(repeating, 100, trusting(0.99)));
  expect(new Set(doubting.tokens.flat().map(({ exit }) => exit))).toEqual(new Set(['final']));
  // A hint says one token, and here the likeliest are requested.
  const several = await decodeAll(
    openSession(staged),
    plainRequest(repeating, 100, { ...trusting(0.5), alternatives: 3 }),
  );
  expect(new Set(several.tokens.flat().map(({ alternatives }) => alternatives!.length))).toEqual(new Set([3]));
});

test('a text that fills a gap takes no hint of what stands behind it', async () => {
  const model = tinyModel();
  const staged = await openStagedModel(model, withMemories(model, exitsAt(2)));
  const trust = new Map([['2:norm', everyClearHint(model)]]);
  const fim = {
    prefix: 40,
    suffix: 41,
    middle: 42,
    repository: null,
    file: null,
    ends: [],
    order: 'prefix-first',
  } as const;
  const [plain] = (await decodeAll(openSession(staged), plainRequest([[21, 9, 50]], 60))).tokens;
  const behind = plain!.map(({ id }) => id);
  const prompt = [fim.prefix, 21, 9, 50, fim.suffix, ...behind, fim.middle, ...behind.slice(0, 4)];
  const written = async (codec: TextCodec) => {
    const request = plainRequest([prompt], 24, { policy: confidenceAt(1), remembers: true, trust, codec });
    return (await decodeAll(openSession(staged), request)).tokens[0]!;
  };
  const leftFrom = (tokens: readonly { exit: string }[]) => tokens.findIndex(({ exit }) => exit === '2:norm');
  expect(leftFrom(await written(idCodec))).toBe(0);
  const tokens = await written({ ...idCodec, fim });
  const before = [fim.prefix, 21, 9, 50, ...behind.slice(0, 4)];
  const hints = hintsBehind([...before, ...tokens.map(({ id }) => id)], before.length - 1);
  for (const [i, { id, exit }] of tokens.entries())
    if (exit === '2:norm') expect(hints[i]).toMatchObject({ token: id, isClear: true });
  expect(leftFrom(tokens)).not.toBe(0);
});

/** A prompt that is long enough for exits to prove themselves in it. */
const long = Array.from({ length: 120 }, (_, i) => (i * i + 3 * i) % tinyModel().spec.vocabulary);

test.each([
  ['agrees', layers.length],
  ['does not', 2],
])('within a prompt, an exit that %s is compared with what the full model says at each place', async (_, layer) => {
  const staged = await openStagedModel(tinyModel(), exitsAt(layer));
  const [cache, final] = [openKvCache(staged, 1), staged.exits.length - 1];
  cache.enter(0, long);
  await cache.runThrough(0, [], long.length);
  const asked = { ...leaving, isAsked: () => true };
  const checks = await checksOf(staged, cache, 0, long, { from: 90, to: 120 }, asked);
  const [exit, full] = await Promise.all([0, final].map((k) => cache.read(k, [0], [30], { logits: false })));
  const tokens = (read: typeof exit): number[] => read![0]!.readouts.map(({ token }) => token);
  const expected = tokens(exit).map((token, n) => token === long[91 + n] || token === tokens(full)[n]);
  expect(checks.map(({ position }) => position)).toEqual(range(29).map((n) => 91 + n));
  expect(checks.map(({ isRight }) => isRight)).toEqual(expected.slice(0, 29));
  cache.dispose();
});

test('within a prompt, hints that are trusted are compared with what the full model says', async () => {
  const model = tinyModel();
  const staged = await openStagedModel(model, exitsAt(2));
  const words = range(20).map((i) => 7 + 3 * i);
  const prompt = [...words, ...words.slice(0, 10), 1, ...words];
  const [cache, final] = [openKvCache(staged, 1), staged.exits.length - 1];
  cache.enter(0, prompt);
  await cache.runThrough(0, [], prompt.length);
  const trustFrom = (least: number) => new Map([['2:norm', { ...everyClearHint(model), least }]]);
  const asked = { ...leaving, isAsked: () => false };
  const checked = { from: 15, to: prompt.length };
  const checks = await checksOf(staged, cache, 0, prompt, checked, { ...asked, trust: trustFrom(0.9) });
  const [full] = await cache.read(final, [0], [prompt.length], { logits: false });
  const expected = hintsBehind(prompt, 15).flatMap((hint, n) => {
    const position = 16 + n;
    if (!hint?.isClear || position >= prompt.length) return [];
    const said = full!.readouts[position - 1]!.token;
    return [{ position, isRight: hint.token === prompt[position] || hint.token === said }];
  });
  expect(expected.length).toBeGreaterThan(10);
  expect(new Set(expected.map(({ isRight }) => isRight)).size).toBe(2);
  expect(checks.map(({ position, isRight }) => ({ position, isRight }))).toEqual(expected);
  for (const check of checks) expect(check).toMatchObject({ exit: '2:norm', isSure: true, agreesClearly: true });
  expect(await checksOf(staged, cache, 0, prompt, checked, { ...asked, trust: trustFrom(0.99) })).toEqual([]);
  cache.dispose();
});

test('what hints and heads show within a prompt is the same however the prompt comes in pieces', async () => {
  const model = tinyModel();
  const staged = await openStagedModel(model, exitsAt(2));
  const words = range(20).map((i) => 7 + 3 * i);
  const prompt = [...words, ...words.slice(0, 10), 1, ...words];
  const cache = openKvCache(staged, 1);
  cache.enter(0, prompt);
  await cache.runThrough(0, [], prompt.length);
  const trust = new Map([['2:norm', { ...everyClearHint(model), least: 0.9 }]]);
  const checks = (from: number, to: number) =>
    checksOf(staged, cache, 0, prompt, { from, to }, { ...leaving, isAsked: () => true, trust });
  const whole = await checks(15, prompt.length);
  const pieces = [...(await checks(15, 27)), ...(await checks(27, 40)), ...(await checks(40, prompt.length))];
  expect(whole.some(({ agreesClearly }) => agreesClearly) && whole.some(({ agreesClearly }) => !agreesClearly)).toBe(
    true,
  );
  expect(pieces).toEqual(whole);
  cache.dispose();
});

test('within a prompt with a gap, no place is compared before the text behind its signs is reached', async () => {
  const model = tinyModel();
  const staged = await openStagedModel(model, exitsAt(2));
  const words = range(20).map((i) => 7 + 3 * i);
  const fim = { prefix: 3, suffix: 4, middle: 5 } as unknown as NonNullable<TextCodec['fim']>;
  const prompt = [fim.prefix, ...words, ...words, fim.suffix, ...range(60).map((i) => 70 + i), fim.middle, ...words];
  const cache = openKvCache(staged, 1);
  cache.enter(0, prompt);
  await cache.runThrough(0, [], 50);
  const trust = new Map([['2:norm', { ...everyClearHint(model), least: 0 }]]);
  const asked = { ...leaving, isAsked: () => false, trust, fim };
  expect(await checksOf(staged, cache, 0, prompt, { from: 40, to: 50 }, asked)).toEqual([]);
  cache.dispose();
});

test('an exit that contradicts at the beginning of what is judged is still compared with the rest', () => {
  const probation = on(range(200), within(20, [false, false, false]));
  expect([probation.standing(lens, 0, false), probation.isStrange(lens)]).toEqual(['off', false]);
  const listed = exitOf(range(100));
  expect([on(range(200)).standing(listed, 0, false), on(range(200)).isStrange(listed)]).toEqual(['off', true]);
});

test('an exit that agreed within the prompt decides at once, also where the prompt is read in pieces or remembered', async () => {
  const staged = await openStagedModel(tinyModel(), exitsAt(layers.length));
  const session = openSession(staged);
  const [first, again] = [
    await decodeAll(session, plainRequest([long], 20, leaving)),
    await decodeAll(session, plainRequest([long], 20, leaving)),
  ];
  expect(first.tokens[0]!.map(({ exit }) => exit === 'final')).toEqual(range(20).map((index) => index === 15));
  const pieces = openSession(staged, { rows: 4, positions: 0, pieceTokens: 25 });
  const inPieces = await decodeAll(pieces, plainRequest([long], 20, leaving));
  expect(summary(again.tokens)).toEqual(summary(first.tokens));
  expect(summary(inPieces.tokens)).toEqual(summary(first.tokens));
});

test('what was compared of a prompt is still known once its text was explained', async () => {
  const session = openSession(await openStagedModel(tinyModel(), exitsAt(layers.length)));
  const how = plainRequest([], 20, leaving);
  const remembered = async (request: BatchRequest): Promise<number[]> => {
    const found: number[] = [];
    for await (const event of session.write([request])) if (event.type === 'prompt') found.push(event.remembered);
    return found;
  };
  const text: BatchRequest = { ...how, prompt: long, number: 0, scores: null };
  expect(await remembered(text)).toEqual([0]);
  const again = rereading(how, 1, long);
  expect(await remembered({ ...again, opinionsFrom: long.length - 1, candidates: 1 })).toEqual([long.length]);
  expect(await remembered(text)).toEqual([long.length]);
});

test.each([256, 25])(
  'behind a prompt remembered by a batch that reads %i tokens at a time, exits with other thresholds are compared again, and nothing is run again',
  async (pieceTokens) => {
    const staged = await openStagedModel(tinyModel(), exitsAt(layers.length));
    const at = (threshold: number) => ({ ...leaving, policy: confidenceAt(threshold) });
    const alone = async (threshold: number) =>
      summary((await decodeAll(openSession(staged), plainRequest([long], 20, at(threshold)))).tokens)[0]!;
    const session = openSession(staged, { rows: 1, pieceTokens });
    const written: string[][] = [];
    for (const threshold of [1, 0, 0.9, 0]) {
      const how = plainRequest([], 20, { ...at(threshold), checksAnew: true });
      const tokens: TokenRecord[] = [];
      for await (const event of session.write([{ ...how, prompt: long, number: 0, scores: null }])) {
        if (event.type === 'prompt' && threshold < 1) expect(event.remembered).toBe(long.length);
        if (event.type === 'tokens') tokens.push(...event.tokens);
      }
      written.push(summary([tokens])[0]!);
    }
    expect(written).toEqual([await alone(1), await alone(0), await alone(0.9), await alone(0)]);
    expect(written[1]).not.toEqual(written[0]);
  },
);

test('exits that learned answers prove themselves in the text alone', async () => {
  const staged = await openStagedModel(tinyModel(), exitsAt(layers.length));
  const firstLeft = async (learnedAnswers: boolean): Promise<number> => {
    const request = plainRequest([long], 40, { ...leaving, learnedAnswers });
    const { tokens } = await decodeAll(openSession(staged), request);
    return tokens[0]!.findIndex(({ exit }) => exit !== 'final');
  };
  expect([await firstLeft(true), await firstLeft(false)]).toEqual([8 + lag, 0]);
});

test('of a prompt that stops at an exit, the end that all layers computed counts, however it is read', async () => {
  const specs = [layers.length - 1, layers.length].map((layer): ExitSpec => ({ layer, architecture: 'norm', head: { kind: 'shared' } })); // prettier-ignore
  const staged = await openStagedModel(tinyModel(), withMemories(tinyModel(), copiedExits(tinyModel(), specs)));
  const prompt = [...long, ...long];
  const stopping = { ...leaving, remembers: true, promptExit: layers.length - 1 };
  const written = async (session: Session): Promise<string[][]> =>
    summary((await decodeAll(session, plainRequest([prompt], 12, stopping))).tokens);
  const whole = await written(openSession(staged));
  expect(whole[0]!.slice(0, 8).every((token) => !token.endsWith('@final'))).toBe(true);
  for (const pieceTokens of [25, 100])
    expect(await written(openSession(staged, { rows: 1, positions: 0, pieceTokens }))).toEqual(whole);
});

test('a text leaves where it would alone, also if its prompt was read at full depth before', async () => {
  const staged = await openStagedModel(tinyModel(), exitsAt(layers.length));
  const alone = await decodeAll(openSession(staged), plainRequest([long], 20, leaving));
  const session = openSession(staged);
  const full = plainRequest([long], 20, { enabled: () => false });
  for (const before of [full, plainRequest([long.slice(0, 80)], 20, leaving), full]) {
    await decodeAll(session, before);
    const { tokens } = await decodeAll(session, plainRequest([long], 20, leaving));
    expect(summary(tokens)).toEqual(summary(alone.tokens));
  }
});

test('the end of a text is left to the full model', async () => {
  const staged = await openStagedModel(tinyModel(), exitsAt(layers.length));
  const { tokens } = await decodeAll(staged, plainRequest([long], 5, leaving));
  expect(tokens[0]!.every(({ exit }) => exit !== 'final')).toBe(true);
  const ending = { endOfText: [tokens[0]![3]!.id], recordsEnd: true };
  const ended = await decodeAll(staged, plainRequest([long], 5, { ...leaving, ...ending }));
  const first = tokens[0]!.findIndex(({ id }) => id === ending.endOfText[0]);
  expect(ended.tokens[0]!.map(({ exit }) => exit === 'final')).toEqual(range(first + 1).map((at) => at === first));
});

test('what was decided at full depth counts in the next text of a conversation, and not where another began', async () => {
  const staged = await openStagedModel(tinyModel(), exitsAt(layers.length));
  const session = openSession(staged);
  const start = long.slice(0, 5);
  const { tokens } = await decodeAll(session, plainRequest([start], 8, leaving));
  expect(tokens[0]!.every(({ exit }) => exit === 'final')).toBe(true);
  const leaves = async (prompt: readonly number[]): Promise<boolean> => {
    const { tokens: next } = await decodeAll(session, plainRequest([prompt], 1, leaving));
    return next[0]![0]!.exit !== 'final';
  };
  const written = tokens[0]!.map(({ id }) => id);
  expect(await leaves([...start, ...written, 7])).toBe(true);
  expect(await leaves([...start, 11])).toBe(false);
});
