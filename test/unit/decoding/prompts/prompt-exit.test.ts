/** Prompts that stop at an exit: what its memory fills, that pieces change nothing, and that no other mode ever reads it. */
import { afterAll, describe, expect, test } from 'vitest';
import { parseOptions } from '../../../../protocol/options/options.ts';
import type { Calibration } from '../../../../backend/checkpoint/calibration.ts';
import { textDrafts } from '../../../../backend/decoding/drafts/draft.ts';
import { openKvCache } from '../../../../backend/decoding/cache/kv-cache.ts';
import { promptLayerOf } from '../../../../backend/decoding/leaving/mode.ts';
import { fewestInFull, lastTokens, stoppingAt } from '../../../../backend/decoding/prompts/prompt-exit.ts';
import { seededRandom } from '../../../../backend/decoding/sampling/random.ts';
import { openSession } from '../../../../backend/decoding/session.ts';
import type { ExitSpec } from '../../../../backend/exits/spec.ts';
import { openStagedModel } from '../../../../backend/runtime/open.ts';
import { maxDifference } from '../../../support/golden.ts';
import { confidenceAt, decodeAll, idsOf, plainRequest } from '../../../support/decoding.ts';
import { copiedExits, tinyModel, withMemories } from '../../../support/models.ts';

const own = { kind: 'own' } as const;
const specs: ExitSpec[] = [
  { layer: 2, architecture: 'norm', head: own },
  { layer: 3, architecture: 'norm', head: own },
];
const random = seededRandom(9);
const tokens = 210;

describe.each(['llama-untied', 'qwen3', 'mistral'])('%s', async (family) => {
  const model = tinyModel(family);
  const plain = await openStagedModel(model);
  const exact = await openStagedModel(model, withMemories(model, copiedExits(model, specs)));
  const noisy = await openStagedModel(model, withMemories(model, copiedExits(model, specs), 3));
  afterAll(async () => {
    for (const each of [plain, exact, noisy]) await each.dispose();
    model.close();
  });
  const prompt = Array.from({ length: tokens }, () => Math.floor(random() * model.spec.vocabulary));
  const layers = model.spec.layers.length;
  const fast = { policy: confidenceAt(1), remembers: true, promptExit: layers - 1 };
  const written = async (on: Parameters<typeof decodeAll>[0], text: readonly number[], different: object) => {
    const { tokens: records } = await decodeAll(on, plainRequest([text], 8, different));
    return records[0]!.map(({ id, confidence }) => [id, confidence]);
  };

  test('a copy fills the only layer left out with what that layer keeps itself', async () => {
    const [stopped, whole] = [openKvCache(exact, 1), openKvCache(exact, 1)];
    for (const cache of [stopped, whole]) cache.enter(0, prompt);
    const stopping = stoppingAt(exact, layers - 1, tokens);
    expect(stopping).toEqual({ k: 1, from: fewestInFull, to: tokens - lastTokens(tokens) });
    await stopped.runThrough(0, [], tokens, { lastOnly: true, stopping });
    await whole.runThrough(0, [], tokens, { lastOnly: true });
    const slot = exact.stages.at(-1)!.slots.at(-1)!;
    const [a, b] = [stopped.pastRows(slot, 0), whole.pastRows(slot, 0)];
    expect(a.key.length).toBe(b.key.length);
    expect(maxDifference(a.key, b.key)).toBeLessThan(1e-4);
    expect(maxDifference(a.value, b.value)).toBeLessThan(1e-4);
    for (const cache of [stopped, whole]) cache.dispose();
  });

  test('a vector of a text hears all layers of it, wherever prompts stop', async () => {
    const logitsAfter = async (promptExit: number | null): Promise<Float32Array> => {
      let last = new Float32Array();
      const pool = { exit: null, lastOnly: true, take: (state: Float32Array) => void (last = state.slice()) };
      await written(noisy, prompt, { ...fast, promptExit, pool });
      return last;
    };
    expect(await logitsAfter(2)).toEqual(await logitsAfter(null));
  });

  test('its first and last tokens are computed in full, the others by its memory alone', async () => {
    const [stopped, whole] = [openKvCache(noisy, 1), openKvCache(noisy, 1)];
    for (const cache of [stopped, whole]) cache.enter(0, prompt);
    await stopped.runThrough(0, [], tokens, { stopping: stoppingAt(noisy, layers - 1, tokens) });
    await whole.runThrough(0, [], tokens);
    const width = model.spec.kvHeads * model.spec.headDimensions;
    const slot = noisy.stages.at(-1)!.slots.at(-1)!;
    const [a, b] = [stopped.pastRows(slot, 0).key, whole.pastRows(slot, 0).key];
    const isSame = (position: number): boolean =>
      maxDifference(
        a.subarray(position * width, (position + 1) * width),
        b.subarray(position * width, (position + 1) * width),
      ) === 0;
    const same = Array.from({ length: tokens }, (_, position) => isSame(position));
    expect(same.slice(0, fewestInFull)).not.toContain(false);
    expect(same.slice(fewestInFull, tokens - lastTokens(tokens))).not.toContain(true);
    // Keys of the last layer come of the layers before, which have attended to nothing that was filled.
    expect(same.slice(tokens - lastTokens(tokens))).not.toContain(false);
    for (const cache of [stopped, whole]) cache.dispose();
  });

  test('pieces change nothing in what is said behind it, and it is another thing than with the whole prompt', async () => {
    const result = await written(noisy, prompt, fast);
    for (const pieceTokens of [16, 50, 128])
      expect(await written(openSession(noisy, { rows: 4, pieceTokens }), prompt, fast)).toEqual(result);
    // What stops lies outside of all windows of attention there.
    if (family !== 'mistral') expect(result).not.toEqual(await written(plain, prompt, {}));
  });

  test('a memory that copies says what the whole prompt does', async () => {
    const [stopped, whole] = [await written(exact, prompt, fast), await written(plain, prompt, {})];
    expect(stopped.map(([id]) => id)).toEqual(whole.map(([id]) => id));
  });

  test('full depth and lossless have their bits in a row that any prompt was read into, also as its beginning', async () => {
    const session = openSession(noisy);
    const full = { enabled: () => false };
    const ways = [
      fast,
      full,
      { ...fast, promptExit: 2 },
      { ...full, drafts: textDrafts(8) },
      { ...fast, promptExit: null },
    ];
    let text = prompt;
    for (let turn = 0; turn < 10; turn++) {
      const different = ways[(3 * turn) % ways.length]!;
      const result = await written(session, text, different);
      if ('enabled' in different) {
        const { tokens: records } = await decodeAll(plain, plainRequest([text], 8));
        expect(result.map(([id]) => id)).toEqual(idsOf(records[0]!));
      }
      text = turn % 3 === 2 ? prompt : [...text, ...result.map(([id]) => id!)];
    }
    session.dispose();
  });

  test('short prompts do not stop, and prompts that are scored neither', async () => {
    expect(stoppingAt(noisy, layers - 1, 3 * fewestInFull)).not.toBeNull();
    expect(stoppingAt(noisy, layers - 1, 3 * fewestInFull - 1)).toBeNull();
    expect(stoppingAt(noisy, null, tokens)).toBeNull();
    const scored = async (different: object): Promise<unknown> => {
      const session = openSession(noisy);
      const [one] = [{ ...plainRequest([], 0, different), prompt, number: 0, scores: 1 }];
      for await (const event of session.write([one])) if (event.type === 'prompt') return event.scores;
      return null;
    };
    expect(await scored(fast)).toEqual(await scored({}));
  });

  test('an exit that is none or has no memory is refused in one sentence', async () => {
    await expect(written(noisy, prompt, { ...fast, promptExit: 1 })).rejects.toThrow(
      'There is no exit at layer 1 with a memory, which a prompt that stops there needs.',
    );
    await expect(written(plain, prompt, fast)).rejects.toThrow('There is no exit at layer');
  });
});

describe('the layer', () => {
  const options = (given: Record<string, unknown>) => parseOptions('generate', { exits: 'e', ...given });
  const calibration: Calibration = {
    step: 1,
    promise: { measure: 'agreement', limit: 0.99 },
    brought: null,
    fastest: 'fast',
    deferred: 'memory',
    promptExit: 20,
    thresholds: { '16:lens': 0.9 },
    gates: {},
  };

  test('is the one that is named, in mode fast alone', () => {
    expect(promptLayerOf(options({ mode: 'fast', promptExit: '16' }), null)).toBe(16);
    for (const mode of ['full', 'lossless', 'auto'])
      expect(() => promptLayerOf(options({ mode, promptExit: '16' }), null)).toThrow(
        `--prompt-exit 16 needs exits and the mode fast, since it changes the text; the mode is ${mode === 'full' ? mode : 'lossless'}.`,
      );
  });
  test('is by auto what calibrating allows, where the calibration counts', () => {
    expect(promptLayerOf(options({ promptExit: 'auto' }), calibration)).toBe(20);
    expect(promptLayerOf(options({ promptExit: 'auto' }), null)).toBeNull();
    expect(promptLayerOf(options({ promptExit: 'auto', mode: 'lossless' }), calibration)).toBeNull();
    expect(promptLayerOf(options({ promptExit: 'auto', mode: 'fast', threshold: '0.8' }), calibration)).toBeNull();
    const { promptExit, ...without } = calibration;
    expect(promptLayerOf(options({ promptExit: 'auto' }), without)).toBeNull();
    expect(promptExit).toBe(20);
  });
  test('is by auto none without a memory, as on a model that is partly on a GPU', () => {
    const of = (promptExit: string, layer: number, remembers: boolean): number | null =>
      promptLayerOf(options({ promptExit, mode: 'fast' }), calibration, [{ layer, remembers }]);
    expect(of('auto', 20, true)).toBe(20);
    expect(of('auto', 20, false)).toBeNull();
    expect(of('auto', 16, true)).toBeNull();
    expect(of('20', 20, false)).toBe(20);
  });
  test('is none by default', () => expect(promptLayerOf(options({}), calibration)).toBeNull());
  test.each(['0', '-1', 'x', '1.5', ''])('is not %s', (promptExit) => {
    expect(() => options({ promptExit })).toThrow();
  });
});
