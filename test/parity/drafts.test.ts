/** Drafts never change a text: in `fast`, too, every token leaves where it leaves without them, whatever gates say. */
import { afterAll, expect, test } from 'vitest';
import { loadTokenizer } from '../../backend/data/tokenizer/tokenizer.ts';
import type { Gate } from '../../backend/decoding/leaving/gate.ts';
import { seededRandom } from '../../backend/decoding/sampling/random.ts';
import { greedy } from '../../backend/decoding/sampling/sampler.ts';
import type { ExitSpec } from '../../backend/exits/spec.ts';
import { openModel } from '../../backend/model/open.ts';
import { openStagedModel } from '../../backend/runtime/open.ts';
import type { TokenRecord } from '../../protocol/trace.ts';
import { confidenceAt, decodeAll, eagerSession, plainRequest } from '../support/decoding.ts';
import { shippedModel } from '../support/golden.ts';
import { copiedExits } from '../support/models.ts';

const head = { kind: 'shared' } as const;
const specs: ExitSpec[] = [
  { layer: 9, architecture: 'norm', head },
  { layer: 11, architecture: 'norm', head },
];
const model = openModel(shippedModel);
const staged = await openStagedModel(model, copiedExits(model, specs), { arithmetic: 'int8' });
afterAll(async () => {
  await staged.dispose();
  model.close();
});

/** Code that repeats itself, as code does. */
const tokenizer = loadTokenizer(shippedModel);
const prompts = ['left', 'right', 'value'].map((name) =>
  tokenizer.encode(
    `export const ${name} = (a: number, b: number): number => a + b;\n`.repeat(2) + `export const ${name}`,
  ),
);

/** Opens for about half of all states, which an untrained guess is enough for. */
const random = seededRandom(5);
const halfOpen: Gate = {
  weights: Float32Array.from({ length: model.spec.hidden }, () => random() - 0.5),
  bias: 0,
  least: 0.5,
};

const cases = [greedy, { ...greedy, temperature: 0.7, topK: 20 }].flatMap((sampling) =>
  [0.5, 0.8, 0.95].flatMap((threshold) =>
    [new Map<string, Gate>(), new Map([['11:norm', halfOpen]])].map((gates) => ({ sampling, threshold, gates })),
  ),
);

test.each([
  [1, 40],
  [3, 16],
])(
  '%i sequences with drafts leave where they leave without',
  async (rows, maxTokens) => {
    const exits = new Set<string>();
    let accepted = 0;
    for (const { threshold, ...different } of cases) {
      const policy = confidenceAt(threshold);
      const request = plainRequest(prompts.slice(0, rows), maxTokens, { ...different, policy });
      const without = await decodeAll(staged, request);
      const drafts = { lookup: true, exits: () => false, limit: 6 };
      const drafted = await decodeAll(eagerSession(staged), { ...request, drafts });
      const choicesOf = (tokens: readonly TokenRecord[][]) =>
        tokens.map((row) => row.map(({ id, exit }) => `${id}@${exit}`));
      expect(choicesOf(drafted.tokens)).toEqual(choicesOf(without.tokens));
      for (const { exit, draft } of drafted.tokens.flat()) {
        exits.add(exit);
        if (draft?.accepted) accepted++;
      }
    }
    expect(exits).toEqual(new Set(['9:norm', '11:norm', 'final']));
    expect(accepted).toBeGreaterThan(100);
  },
  60_000,
);
