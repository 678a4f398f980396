/** Early-exit decoding against full-depth and truncated models, and what ends a text. */
import { describe, expect, test } from 'vitest';
import { decode } from '../../../backend/decoding/decode.ts';
import { newPace } from '../../../backend/decoding/drafts/pace.ts';
import { repetitionEnd } from '../../../backend/decoding/repetition.ts';
import { openSession } from '../../../backend/decoding/session.ts';
import { exitCut } from '../../../backend/exits/architectures.ts';
import type { ExitSpec } from '../../../backend/exits/spec.ts';
import { greedy } from '../../../backend/decoding/sampling/sampler.ts';
import { openExitScorer, openFeatureModel, openStagedModel } from '../../../backend/runtime/open.ts';
import { cutName } from '../../../backend/model/spec.ts';
import { confidenceAt, decodeAll, idsOf, plainRequest } from '../../support/decoding.ts';
import { copiedExits, idCodec } from '../../support/models.ts';
import { openTiny } from '../../support/staged.ts';

const own = { kind: 'own' } as const;
const shared = { kind: 'shared' } as const;
const specs: ExitSpec[] = [
  { layer: 1, architecture: 'embedding', head: shared },
  { layer: 1, architecture: 'layer', head: own },
  { layer: 2, architecture: 'mlp', head: own },
  { layer: 2, architecture: 'lens', head: shared },
  { layer: 3, architecture: 'norm', head: own },
];

const { model, exits, staged, plain } = await openTiny((tiny) => copiedExits(tiny, specs));

const prompts = [
  [7, 99, 23, 4],
  [101, 5],
  [9, 9, 9, 31, 200, 17],
];

test('threshold 1 never exits: the text is the plain model’s', async () => {
  const full = await decodeAll(plain, plainRequest(prompts, 24));
  const exiting = await decodeAll(staged, plainRequest(prompts, 24));
  expect(exiting.tokens.map(idsOf)).toEqual(full.tokens.map(idsOf));
  expect(new Set(exiting.tokens.flat().map(({ exit }) => exit))).toEqual(new Set(['final']));
});

describe.each(specs)('every token forced out at $layer:$architecture', (exit) => {
  test('is the truncated model’s text', async () => {
    const id = `${exit.layer}:${exit.architecture}`;
    const forced = await decodeAll(
      staged,
      plainRequest(prompts, 10, { policy: confidenceAt(0), enabled: (e) => e === id }),
    );
    const features = await openFeatureModel(model, [exitCut(exit)]);
    const scorer = await openExitScorer(model, exit, exits.parameters);
    for (const [row, prompt] of prompts.entries()) {
      const ids = [...prompt];
      for (let n = 0; n < 10; n++) {
        const [value] = await features.features(Int32Array.from(ids), 1, ids.length);
        const { token } = await scorer.score(value!, new Int32Array(ids.length), 1, ids.length);
        ids.push(token.at(-1)!);
      }
      expect(idsOf(forced.tokens[row]!)).toEqual(ids.slice(prompt.length));
    }
    expect(forced.tokens.flat().every(({ layer, exit: e }) => layer === exit.layer && e === id)).toBe(true);
    await features.dispose();
    await scorer.dispose();
  });
});

test('each row of a batch decides for itself as it would alone', async () => {
  const different = { policy: confidenceAt(0.09), enabled: (exit: string) => exit !== '1:embedding' };
  const batch = await decodeAll(staged, plainRequest(prompts, 30, different));
  for (const [row, prompt] of prompts.entries()) {
    const alone = await decodeAll(staged, plainRequest([prompt], 30, different));
    expect(batch.tokens[row]!.map(({ id, exit }) => `${id}@${exit}`)).toEqual(
      alone.tokens[0]!.map(({ id, exit }) => `${id}@${exit}`),
    );
  }
  expect(new Set(batch.tokens.flat().map(({ exit }) => exit)).size).toBeGreaterThan(2);
});

test('opinions of all exits do not change what is said', async () => {
  const request = plainRequest([prompts[0]!], 16, { policy: confidenceAt(0.045) });
  const without = await decodeAll(staged, request);
  const withThem = await decodeAll(staged, { ...request, candidates: 3 });
  expect(withThem.tokens[0]).toMatchObject(without.tokens[0]!);
  const opinions = withThem.tokens[0]![0]!.opinions!;
  expect(opinions.map(({ exit }) => exit)).toEqual(staged.exits.map(({ id }) => id));
  expect(opinions.every(({ candidates }) => candidates.length === 3)).toBe(true);
});

test('an exit sends tokens that neither its shortlist nor the text holds to the next exit', async () => {
  const full = idsOf((await decodeAll(plain, plainRequest(prompts, 12))).tokens.flat());
  const tokens = [...Array(64).keys()].filter((id) => !full.includes(id)).slice(0, 3);
  // At the last layer the list's logits are the model's own; the defer class has logit 0.
  const listed = copiedExits(model, [{ layer: 4, architecture: 'norm', head: { kind: 'shortlist', tokens } }]);
  const exiting = await openStagedModel(model, listed);
  const { tokens: all } = await decodeAll(
    exiting,
    plainRequest(prompts, 12, { policy: confidenceAt(0), candidates: 1 }),
  );
  for (const [row, text] of all.entries())
    for (const [i, { id, exit, opinions }] of text.entries()) {
      expect(exit === 'final').toBe(opinions![0]!.token === null);
      if (exit !== 'final') expect([...tokens, ...prompts[row]!, ...idsOf(text.slice(0, i))]).toContain(id);
    }
  expect(new Set(all.flat().map(({ exit }) => exit))).toEqual(new Set(['4:norm', 'final']));
  await exiting.dispose();
});

test('patience leaves when exits in a row agree', async () => {
  const { tokens } = await decodeAll(
    staged,
    plainRequest(prompts, 20, { policy: { kind: 'patience', threshold: () => 2 }, candidates: 1 }),
  );
  for (const token of tokens.flat()) {
    const predicted = token.opinions!.map(({ token: t }) => t!.id);
    const expected = predicted.findIndex((id, k) => k > 0 && id === predicted[k - 1]);
    const at = token.opinions!.findIndex(({ exit }) => exit === token.exit);
    expect(at).toBe(expected === -1 ? predicted.length - 1 : expected);
  }
});

describe('a text ends', () => {
  const request = plainRequest([prompts[0]!], 20);

  test('at end of text, which is not shown', async () => {
    const full = idsOf((await decodeAll(plain, request)).tokens[0]!);
    const end = full.find((id, i) => i > 3 && !full.slice(0, i).includes(id))!;
    const { tokens, stops } = await decodeAll(plain, { ...request, endOfText: [end] });
    expect(idsOf(tokens[0]!)).toEqual(full.slice(0, full.indexOf(end)));
    expect(stops).toEqual(['end-of-text']);
    const recorded = await decodeAll(plain, { ...request, endOfText: [end], recordsEnd: true, stopStrings: ['never'] });
    expect(recorded.tokens[0]!.slice(0, -1)).toEqual(tokens[0]);
    expect(recorded.tokens[0]!.at(-1)).toMatchObject({ id: end, text: '' });
    expect(recorded.stops).toEqual(['end-of-text']);
  });

  test('before a stop string that two tokens make up', async () => {
    const full = idsOf((await decodeAll(plain, request)).tokens[0]!);
    const stop = `${full[5]}><${full[6]}`;
    const { tokens, stops } = await decodeAll(plain, { ...request, stopStrings: [stop] });
    const text = full.map((id) => `<${id}>`).join('');
    expect(tokens[0]!.map((t) => t.text).join('')).toBe(text.slice(0, text.indexOf(stop)));
    expect(stops).toEqual(['stop-string']);
  });

  test('without a character that is not complete, whether or not there are stop strings', async () => {
    const decoder: typeof idCodec.decoder = () => {
      const pieces = ['A'];
      return { push: () => pieces.pop() ?? '', flush: () => '\ufffd' };
    };
    for (const stopStrings of [[], ['never'], ['AB']]) {
      const { tokens } = await decodeAll(plain, { ...request, stopStrings, codec: { ...idCodec, decoder } });
      expect(tokens[0]!.map((t) => t.text)).toEqual(['A', ...Array<string>(19).fill('')]);
    }
  });

  test('where the context is full', async () => {
    const long = Array.from({ length: 250 }, (_, i) => i % 256);
    const { tokens, stops } = await decodeAll(staged, plainRequest([long], 100, { policy: confidenceAt(0.05) }));
    expect(stops).toEqual(['context-full']);
    expect(tokens[0]).toHaveLength(256 - 250);
  });

  test('when it is cancelled', async () => {
    const written: number[] = [];
    const stops: string[] = [];
    for await (const event of decode(openSession(plain), { ...request, isCancelled: () => written.length === 3 })) {
      if (event.type === 'token') written.push(event.token.id);
      if (event.type === 'stop') stops.push(event.reason);
    }
    expect(written).toHaveLength(3);
    expect(stops).toEqual(['cancelled']);
  });

  test('where it is cancelled with a beginning of the whole, whatever might still have ended it', async () => {
    const pieces = ['let x', '\n', 'let x', '\n', 'let', ' x', '\n'];
    const of = async (most: number): Promise<string> => {
      let at = 0;
      const decoder: typeof idCodec.decoder = () => ({ push: () => pieces[at++] ?? 'y', flush: () => '' });
      const given = { ...request, ends: [() => repetitionEnd()], codec: { ...idCodec, decoder } };
      const { tokens } = await decodeAll(plain, { ...given, isCancelled: () => at >= most });
      return tokens[0]!.map(({ text }) => text).join('');
    };
    const whole = await of(Infinity);
    expect(whole).toBe('let x');
    for (let most = 1; most < pieces.length; most++) expect(whole.startsWith(await of(most)), `${most}`).toBe(true);
  });

  test('when it is cancelled between two passes of its prompt', async () => {
    const spec = { ...model.spec, contextLength: 4000 };
    const long = await openStagedModel({ ...model, spec });
    let passes = 0;
    const kept = openSession(long, undefined, { ...newPace(long), measured: () => void passes++ });
    const prompt = Array.from({ length: 1200 }, (_, i) => i % 250);
    const { tokens, stops } = await decodeAll(kept, {
      ...plainRequest([prompt], 5),
      isCancelled: () => passes >= 2,
    });
    expect({ tokens, stops, passes }).toEqual({ tokens: [[]], stops: ['cancelled'], passes: 2 });
    // What was read is not read again.
    const textOf = async (...given: Parameters<typeof decodeAll>): Promise<number[]> =>
      idsOf((await decodeAll(...given)).tokens[0]!);
    const remembered: number[] = [];
    const again = { ...plainRequest([prompt], 5), prompt, number: 0, scores: null };
    for await (const event of kept.write([again])) if (event.type === 'prompt') remembered.push(event.remembered);
    expect(remembered).toEqual([512]);
    expect(await textOf(kept, plainRequest([prompt], 5))).toEqual(await textOf(long, plainRequest([prompt], 5)));
    await long.dispose();
  });
});

test('a prompt that begins like the last text goes on from its cache, with the same result', async () => {
  const session = openSession(staged);
  const policy = confidenceAt(0.06);
  const first = await decodeAll(session, plainRequest([prompts[0]!], 12, { policy }));
  const turn = [...prompts[0]!, ...idsOf(first.tokens[0]!), 77, 5];
  for (const prompt of [turn, turn.slice(0, 8), [...turn.slice(0, 6), 3, 3, 3]]) {
    const alone = await decodeAll(staged, plainRequest([prompt], 12, { policy }));
    const again = await decodeAll(session, plainRequest([prompt], 12, { policy }));
    expect(again).toEqual(alone);
  }
  const text = {
    ...plainRequest([], 1, { policy }),
    prompt: [...turn.slice(0, 6), 3, 3, 3, 8],
    number: 0,
    scores: null,
  };
  for await (const event of session.write([text])) if (event.type === 'prompt') expect(event.remembered).toBe(9);
});

test('sampling is repeatable by seed and different between rows', async () => {
  const request = plainRequest([prompts[0]!, prompts[0]!], 20, {
    sampling: { ...greedy, temperature: 1, topK: 50 },
    seed: 5,
  });
  const once = await decodeAll(plain, request);
  const again = await decodeAll(plain, request);
  expect(again.tokens).toEqual(once.tokens);
  expect(idsOf(once.tokens[0]!)).not.toEqual(idsOf(once.tokens[1]!));
});

test.each([[[]], [[Array.from({ length: 256 }, () => 1)]]])(
  'a prompt that cannot be read is refused',
  async (prompt) => {
    await expect(decode(openSession(plain), plainRequest([prompt.flat()], 4)).next()).rejects.toThrow(
      /The prompt (is empty|has 256 tokens)/,
    );
  },
);

test('features are named by their cut', () => {
  expect(specs.map((exit) => cutName(exitCut(exit)))).toEqual(['1.end', '1.end', '2.attention', '2.end', '3.end']);
});
