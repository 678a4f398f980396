/** Texts of mode fast where memories fill what tokens skip: the same however they are drafted, looked at or batched. */
import { describe, expect, test } from 'vitest';
import { textDrafts } from '../../../backend/decoding/drafts/draft.ts';
import { regretsAt } from '../../../backend/decoding/prompts/regret.ts';
import { openKvCache } from '../../../backend/decoding/cache/kv-cache.ts';
import { openSession } from '../../../backend/decoding/session.ts';
import type { ExitSpec } from '../../../backend/exits/spec.ts';
import { confidenceAt, decodeAll, eagerSession, idsOf, judgedIn, plainRequest } from '../../support/decoding.ts';
import { copiedExits, withMemories } from '../../support/models.ts';
import { openTiny } from '../../support/staged.ts';

const own = { kind: 'own' } as const;
const specs: ExitSpec[] = [
  { layer: 1, architecture: 'norm', head: own },
  { layer: 2, architecture: 'norm', head: own },
];

describe.each(['llama-untied', 'qwen3', 'mistral'])('%s', async (family) => {
  const { staged, plain } = await openTiny((model) => withMemories(model, copiedExits(model, specs), 3), family);
  const prompts = [
    [7, 99, 23, 4, 7, 99, 23, 4, 7, 99],
    [101, 5],
    [9, 9, 9, 31, 100, 17],
  ];
  // Of tiny models no exit is sure of anything: about half of the tokens leave at this threshold.
  const opinions = await decodeAll(staged, plainRequest([prompts[0]!], 48, { candidates: 2 }));
  const sure = opinions.tokens[0]!.map((token) => token.opinions![0]!.confidence).sort((a, b) => a - b);
  const fast = { policy: confidenceAt(sure[24]!), remembers: true };

  test('some tokens leave, and what is said behind them is another thing than with exact states', async () => {
    const written = (remembers: boolean) => decodeAll(staged, plainRequest(prompts, 48, { ...fast, remembers }));
    const [filled, exact] = [(await written(true)).tokens.flat(), (await written(false)).tokens.flat()];
    expect(new Set(filled.map(({ exit }) => exit)).size).toBeGreaterThan(1);
    expect(filled.map(({ confidence }) => confidence)).not.toEqual(exact.map(({ confidence }) => confidence));
  });

  test('drafts, opinions and a batch change nothing in it', async () => {
    for (const prompt of prompts) {
      const alone = await decodeAll(staged, plainRequest([prompt], 48, fast));
      const eager = eagerSession(staged);
      const drafted = await decodeAll(eager, plainRequest([prompt], 48, { ...fast, drafts: textDrafts(8) }));
      eager.dispose();
      const looked = await decodeAll(staged, plainRequest([prompt], 48, { ...fast, candidates: 2 }));
      expect(drafted.tokens[0]!.map(({ id, exit }) => [id, exit])).toEqual(
        alone.tokens[0]!.map(({ id, exit }) => [id, exit]),
      );
      expect(idsOf(looked.tokens[0]!)).toEqual(idsOf(alone.tokens[0]!));
    }
    const together = await decodeAll(staged, plainRequest(prompts, 48, { ...fast, drafts: textDrafts(8) }));
    for (const [row, prompt] of prompts.entries()) {
      const alone = await decodeAll(staged, plainRequest([prompt], 48, fast));
      expect(idsOf(together.tokens[row]!)).toEqual(idsOf(alone.tokens[0]!));
    }
  });

  test('full depth keeps its text in a row that any other mode has written', async () => {
    const session = openSession(staged);
    const text = [...prompts[0]!];
    for (let turn = 0; turn < 9; turn++) {
      const never = { enabled: () => false };
      const ways = [fast, never, { ...fast, remembers: false }, { ...never, drafts: textDrafts(8) }];
      const different = ways[(5 * turn + 1) % 4]!;
      const { tokens } = await decodeAll(session, plainRequest([text], 8, different));
      const alone = await decodeAll(staged, plainRequest([text], 8, different));
      expect(idsOf(tokens[0]!)).toEqual(idsOf(alone.tokens[0]!));
      if ('enabled' in different)
        expect(idsOf(tokens[0]!)).toEqual(idsOf((await decodeAll(plain, plainRequest([text], 8))).tokens[0]!));
      text.push(...idsOf(tokens[0]!));
    }
    session.dispose();
  });

  test("the full model's own text has no regret, another has some", async () => {
    const session = openSession(plain);
    const prompt = prompts[0]!;
    const { tokens } = await decodeAll(session, plainRequest([prompt], 40));
    const texts = [idsOf(tokens[0]!), [1, 2, 3, 4]].map((text) => ({ prompt, text }));
    const [none, other] = await judgedIn(session, texts);
    session.dispose();
    expect(none).toEqual(Array.from({ length: 40 }, () => 0));
    expect(other!.every((regret) => regret >= 0 && regret <= 5)).toBe(true);
    expect(Math.max(...other!)).toBeGreaterThan(0);
  });

  test('texts are judged in the session that wrote them, to the bits of one that reads them token by token', async () => {
    const session = openSession(staged, { rows: prompts.length });
    const { tokens } = await decodeAll(session, plainRequest(prompts, 48, fast));
    const texts = prompts.map((prompt, i) => ({ prompt, text: idsOf(tokens[i]!) }));
    const regrets = await judgedIn(session, texts);
    session.dispose();
    for (const [i, { prompt, text }] of texts.entries()) {
      const cache = openKvCache(staged, 1);
      cache.enter(0, prompt);
      for (const id of text.slice(0, -1)) cache.enter(0, [id]);
      await cache.advance(staged.stages.length, [0]);
      const [read] = await cache.read(staged.exits.length - 1, [0], [text.length], { logits: false });
      const end = prompt.length + text.length - 1;
      expect(regrets[i]).toEqual(await regretsAt(staged, cache, { row: 0, end }, read!.readouts, text));
      cache.dispose();
    }
    expect(Math.max(...regrets.flat())).toBeGreaterThan(0);
  });

  test('the regret of a token that no readout names is what the logits say', async () => {
    const text = Array.from({ length: 24 }, (_, i) => (37 * i + 11) % plain.spec.vocabulary);
    const cache = openKvCache(plain, 1);
    cache.enter(0, [...prompts[0]!, ...text.slice(0, -1)]);
    await cache.advance(plain.stages.length, [0]);
    const [read] = await cache.read(plain.exits.length - 1, [0], [text.length], { logits: true });
    const rows = text.map((_, i) => read!.logits!.subarray(i * plain.spec.vocabulary, (i + 1) * plain.spec.vocabulary));
    const exact = text.map((id, i) => Math.min(5, Math.max(...rows[i]!) - rows[i]![id]!));
    cache.dispose();
    const session = openSession(plain);
    const [found] = await judgedIn(session, [{ prompt: prompts[0]!, text }]);
    session.dispose();
    for (const [i, regret] of found!.entries()) expect(regret).toBeCloseTo(exact[i]!, 3);
    expect(found!.filter((regret) => regret < 5).length).toBeGreaterThan(12);
  });
});
