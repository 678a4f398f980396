/** At which layer prompts may stop: where a copy is exact, not where memory is noise, and nowhere without text or time. */
import { afterAll, expect, test } from 'vitest';
import {
  isAllowed,
  judgePrompts,
  promptRegret,
  regretsBehind,
} from '../../../../backend/evaluation/calibration/prompts.ts';
import { mean } from '../../../../backend/evaluation/tasks/statistics.ts';
import { seededRandom } from '../../../../backend/decoding/sampling/random.ts';
import type { ExitSpec } from '../../../../backend/exits/spec.ts';
import { openStagedModel } from '../../../../backend/runtime/open.ts';
import type { StagedModel } from '../../../../backend/runtime/staged-model.ts';
import { copiedExits, tinyModel, withMemories } from '../../../support/models.ts';

const own = { kind: 'own' } as const;
const model = tinyModel('llama-untied');
const last = model.spec.layers.length - 1;
const specs: ExitSpec[] = [1, last].map((layer) => ({ layer, architecture: 'norm', head: own }));
const copies = withMemories(model, copiedExits(model, specs));
const noise = withMemories(model, copiedExits(model, specs), 200);
const [copying, noisy, plain] = [
  await openStagedModel(model, copies),
  await openStagedModel(model, noise),
  await openStagedModel(model),
];
afterAll(async () => {
  for (const each of [copying, noisy, plain]) await each.dispose();
  model.close();
});

const random = seededRandom(4);
const windowsOf = (count: number, tokens: number) => {
  const all = Array.from({ length: count }, () =>
    Int32Array.from({ length: tokens }, () => Math.floor(random() * model.spec.vocabulary)),
  );
  return { count, tokens, hash: '', window: (i: number) => ({ ids: all[i]!, targets: all[i]! }) };
};
const judged = async (staged: StagedModel, windows = windowsOf(5, 280), seconds = Infinity) => {
  const judging = judgePrompts(staged, windows, 0.001, (needed) => needed < seconds, new AbortController().signal);
  for (;;) {
    const next = await judging.next();
    if (next.done) return next.value;
  }
};

test('a memory that is exact may be used, one of noise not', async () => {
  expect(await judged(copying)).not.toBeNull();
  const ids = [...windowsOf(1, 280).window(0).ids];
  for await (const { layer, regrets } of regretsBehind(noisy, ids, 70, [1, null])) {
    expect(regrets).toHaveLength(70);
    if (layer === null) expect(mean(regrets)).toBe(0);
    else expect(mean(regrets)).toBeGreaterThan(promptRegret);
  }
  expect(await judged(noisy)).toBeNull();
});

test('only places with something to be learned are counted, and windows without any are not read', async () => {
  const windows = windowsOf(5, 280);
  const texts = Array.from({ length: windows.count }, (_, i) => windows.window(i).ids);
  const learned = (places: readonly (readonly number[])[]) => {
    const targets = texts.map((ids, i) => ids.map((id, place) => (places[i]!.includes(place) ? id : -1)));
    return { ...windows, window: (i: number) => ({ ids: texts[i]!, targets: targets[i]! }) };
  };
  // Where a stop at the shallow layer loses nothing.
  const harmless: number[][] = [];
  for (const ids of texts)
    for await (const { regrets } of regretsBehind(copying, [...ids], 70, [1]))
      harmless.push(regrets.flatMap((regret, i) => (regret === 0 ? [210 + i] : [])));
  expect(await judged(copying, learned(harmless))).toBe(1);
  // Prompts alone, and a place behind each.
  expect(await judged(copying, learned(texts.map(() => [0, 209])))).toBeNull();
  expect(await judged(copying, learned(texts.map(() => [210])))).not.toBeNull();
});

/** What is done for each layer, as it is told: the detail of its phase, and how many windows were read. */
const windowsRead = async (staged: StagedModel): Promise<[detail: string, windows: number][]> => {
  const found: [string, number][] = [];
  for await (const event of judgePrompts(staged, windowsOf(8, 280), 0.001, () => true, new AbortController().signal)) {
    if (event.type === 'phase') found.push([event.detail, 0]);
    else if (event.type === 'progress') found.at(-1)![1]++;
  }
  return found;
};

test('the shallowest layer at which prompts may stop is found, from the first one on, by four windows if it clearly may', async () => {
  expect(await judged(copying)).toBe(last);
  const tried = await windowsRead(copying);
  expect(tried[0]![0]).toBe('what follows prompts that stop at layer 1');
  expect(tried.at(-1)).toEqual([`what follows prompts that stop at layer ${last}`, 4]);
});

test('layers that surely lose too much are given up after two windows', async () => {
  const tried = await windowsRead(noisy);
  expect(tried.map(([detail]) => detail.split(' ').at(-1))).toEqual(['1', `${last}`]);
  expect(tried.map(([, windows]) => windows)).toEqual([2, 2]);
});

test('where there is no memory, too little text, or no time, prompts go through all layers', async () => {
  expect(await judged(plain)).toBeNull();
  expect(await judged(copying, windowsOf(5, 140))).toBeNull();
  expect(await judged(copying, windowsOf(3, 280))).toBeNull();
  expect(await judged(copying, windowsOf(5, 280), 0)).toBeNull();
});

test('none is read if there is no time for the four that could allow a layer', async () => {
  const read = async (ofPrompt: number): Promise<number> => {
    let events = 0;
    const hasTime = (needed: number): boolean => needed < 60;
    const judging = judgePrompts(copying, windowsOf(8, 280), ofPrompt, hasTime, new AbortController().signal);
    for await (const { type } of judging) if (type === 'progress') events++;
    return events;
  };
  expect(await read(0.03)).toBe(0);
  expect(await read(0.02)).toBeGreaterThanOrEqual(4);
});

test('a few windows, which say little of how far they are apart, need a larger distance from the limit than many', () => {
  const means = [0.004, 0.008, 0.016, 0.02];
  // 0.012 + 2.35 · 0.0037
  expect(isAllowed(means)).toBe(false);
  // 0.012 + 1.89 · 0.0024
  expect(isAllowed([...means, ...means])).toBe(true);
  expect(isAllowed(means.map((mean) => 0.9 * mean))).toBe(true);
  expect(isAllowed([0, 0, 0])).toBe(false);
});
