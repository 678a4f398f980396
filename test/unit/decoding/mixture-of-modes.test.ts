/** Any mixture of modes in one session: texts at full depth have the bits of a model without exits, whatever else its rows have written. */
import { describe, expect, test } from 'vitest';
import type { DecodeRequest } from '../../../backend/decoding/decode.ts';
import { textDrafts } from '../../../backend/decoding/drafts/draft.ts';
import { seededRandom } from '../../../backend/decoding/sampling/random.ts';
import { openSession } from '../../../backend/decoding/session.ts';
import type { TokenRecord } from '../../../protocol/trace.ts';
import type { ExitSpec } from '../../../backend/exits/spec.ts';
import { fourTokens } from '../../../backend/runtime/ggml/tiles.ts';
import { confidenceAt, decodeAll, eagerPace, idsOf, plainRequest } from '../../support/decoding.ts';
import { copiedExits, withMemories } from '../../support/models.ts';
import { openTiny } from '../../support/staged.ts';

const own = { kind: 'own' } as const;
const specs: ExitSpec[] = [
  { layer: 1, architecture: 'norm', head: own },
  { layer: 2, architecture: 'norm', head: own },
];
/** Tokens with their bits: of tiny models the best token rarely changes. */
const seen = (tokens: readonly TokenRecord[]): unknown[] => tokens.map(({ id, confidence }) => [id, confidence]);
/** Of each seed. Which texts wait for each other depends on the clock, too. */
const texts = 40;
const seeds = [1, 2, 3, 4, 5];
/** Texts in flight at a time; the session has fewer rows for them than that, so some wait. */
const together = 4;

describe.each(['qwen3', 'gemma3_text'])('%s', async (family) => {
  const { staged, plain } = await openTiny((model) => withMemories(model, copiedExits(model, specs), 3), family);
  const opening = [7, 99, 23, 4, 7, 99, 23, 4, 7, 99];
  const opinions = await decodeAll(staged, plainRequest([opening], 32, { candidates: 2 }));
  const sure = opinions.tokens[0]!.map((token) => token.opinions![0]!.confidence).sort((a, b) => a - b);
  const early = (share: number, remembers: boolean): Partial<DecodeRequest> => ({
    policy: confidenceAt(sure[Math.floor(share * sure.length)]!),
    remembers,
  });
  const never = { enabled: () => false };
  const ways: readonly (Partial<DecodeRequest> & { readonly isFull: boolean })[] = [
    { ...never, isFull: true },
    { ...never, drafts: textDrafts(8), isFull: true },
    { ...early(0.3, true), isFull: false },
    { ...early(0.6, true), drafts: textDrafts(8), isFull: false },
    { ...early(0.5, false), isFull: false },
  ];

  /** Writes texts that go on from each other; how many of them at full depth were compared, and how many tokens left early. */
  const writeAll = async (seed: number): Promise<{ compared: number; left: number }> => {
    const random = seededRandom(seed);
    const below = (n: number): number => Math.floor(random() * n);
    const session = openSession(staged, { rows: 3, positions: 0 }, eagerPace(staged));
    const reference = openSession(plain);
    /** The latest texts, each with its prompt: most texts go on from one of them, some from its first half. */
    let known: number[][] = [opening, [101, 5, 80, 2, 44, 61], [9, 9, 9, 31, 100, 17]];
    let [compared, left] = [0, 0];
    const writeOne = async (): Promise<void> => {
      const whole = known[below(known.length)]!;
      // Tokens of a longer prompt are summed otherwise than those that come one by one (runtime/ggml/tiles.ts), and each session remembers others.
      const prompt = below(4) > 0 && whole.length < fourTokens ? whole : whole.slice(0, whole.length >> 1);
      const { isFull, ...way } = ways[below(ways.length)]!;
      const length = 1 + below(12);
      const { tokens } = await decodeAll(session, plainRequest([prompt], length, way));
      const written = idsOf(tokens[0]!);
      known = [...known.slice(1), [...prompt, ...written]];
      left += tokens[0]!.filter(({ exit }) => exit !== 'final').length;
      if (!isFull) return;
      const exact = await decodeAll(reference, plainRequest([prompt], length));
      expect(seen(tokens[0]!)).toEqual(seen(exact.tokens[0]!));
      compared++;
    };
    let begun = 0;
    const writer = async (): Promise<void> => {
      while (begun++ < texts) await writeOne();
    };
    await Promise.all(Array.from({ length: together }, writer));
    session.dispose();
    reference.dispose();
    return { compared, left };
  };

  test('at random, several texts at a time, which go on from each other', { timeout: 60_000 }, async () => {
    let [compared, left] = [0, 0];
    for (const seed of seeds) {
      const written = await writeAll(seed);
      compared += written.compared;
      left += written.left;
    }
    expect(compared).toBeGreaterThan((seeds.length * texts) / 5);
    expect(left).toBeGreaterThan((seeds.length * texts) / 5);
  });
});
