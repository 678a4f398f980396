/** Texts within a grammar, with the model that ships: in every mode, whatever is drafted, alone and in a batch. */
import { afterAll, describe, expect, test } from 'vitest';
import { finish } from '../../../backend/data/steps.ts';
import { loadTokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import type { BatchRequest } from '../../../backend/decoding/batch.ts';
import { openSession, type Session } from '../../../backend/decoding/session.ts';
import type { ExitSpec } from '../../../backend/exits/spec.ts';
import { openGrammar } from '../../../backend/grammar/constraint.ts';
import { parseGbnf } from '../../../backend/grammar/gbnf.ts';
import { jsonObjectRules, schemaRules } from '../../../backend/grammar/json-schema.ts';
import type { Rules } from '../../../backend/grammar/expression.ts';
import { readVocabulary } from '../../../backend/grammar/vocabulary.ts';
import { openModel } from '../../../backend/model/open.ts';
import { openStagedModel } from '../../../backend/runtime/open.ts';
import type { StopReason, TokenRecord } from '../../../protocol/trace.ts';
import { confidenceAt, eagerSession, plainRequest } from '../../support/decoding.ts';
import { fitting } from '../../support/grammars.ts';
import { shippedModel } from '../../support/golden.ts';
import { copiedExits } from '../../support/models.ts';

const specs: ExitSpec[] = [
  { layer: 4, architecture: 'norm', head: { kind: 'shared' } },
  { layer: 8, architecture: 'norm', head: { kind: 'shared' } },
];
const model = openModel(shippedModel);
const staged = await openStagedModel(model, copiedExits(model, specs));
const tokenizer = loadTokenizer(shippedModel);
const vocabulary = finish(readVocabulary(tokenizer));
afterAll(async () => {
  await staged.dispose();
  model.close();
});

const endOfText = tokenizer.eosIds;
const grammars: Record<string, Rules> = {
  schema: schemaRules({
    type: 'object',
    properties: { name: { type: 'string', maxLength: 12 }, tags: { type: 'array', items: { enum: ['a', 'b'] }, maxItems: 3 }, count: { type: 'integer', maximum: 99 } }, // prettier-ignore
    required: ['name', 'tags', 'count'],
  }),
  object: jsonObjectRules,
  lines: parseGbnf('root ::= ("const " [a-z]{1,6} " = " [0-9]{1,3} ";\\n"){3}'),
};
const prompt = 'const options = ';

interface Written {
  readonly text: string;
  readonly tokens: readonly TokenRecord[];
  readonly reason: StopReason;
}

async function written(session: Session, rules: Rules, more: Partial<BatchRequest> = {}): Promise<Written> {
  const [text] = await together(session, [{ rules, more }]);
  return text!;
}

async function together(
  session: Session,
  requests: readonly { rules: Rules; more: Partial<BatchRequest> }[],
): Promise<Written[]> {
  const { prompts, ...how } = plainRequest([tokenizer.encode(prompt)], 60, { codec: tokenizer, enabled: () => false, endOfText }); // prettier-ignore
  const texts = requests.map(({ rules, more }): BatchRequest => {
    const allowed = finish(openGrammar(rules, tokenizer, vocabulary, endOfText));
    return { ...how, prompt: prompts[0]!, number: 0, scores: null, allowed, ...more };
  });
  const results = texts.map((): { text: string; tokens: TokenRecord[]; reason: StopReason } => ({
    text: '',
    tokens: [],
    reason: 'cancelled',
  }));
  for await (const event of session.write(texts)) {
    const one = results[texts.indexOf(event.request)]!;
    if (event.type === 'stop') one.reason = event.reason;
    if (event.type === 'tokens')
      for (const token of event.tokens) {
        one.tokens.push(token);
        one.text += token.text;
      }
  }
  return results;
}

const drafts = { lookup: true, exits: () => true, limit: 6 };
const sampling = { temperature: 1, topK: 40, topP: 0.95, minP: 0, repetitionPenalty: 1.1 };
const ways: [string, Partial<BatchRequest>][] = [
  ['full depth', {}],
  ['drafts', { drafts }],
  ['exits that are hardly sure', { enabled: () => true, policy: confidenceAt(0.1), drafts }],
  ['exits that say anything', { enabled: () => true, policy: confidenceAt(0) }],
  ['samples', { sampling, drafts, seed: 5 }],
  [
    'penalties and a bias',
    { sampling: { ...sampling, temperature: 0, frequencyPenalty: 1, bias: new Map([[40, 5]]) } },
  ],
];

describe.each(Object.entries(grammars))('%s', (_, rules) => {
  const { whole, beginning } = fitting(rules);
  test.each(ways)('is kept with %s', async (_way, more) => {
    const session = eagerSession(staged);
    const { text, reason } = await written(session, rules, more);
    session.dispose();
    expect([text, beginning(text)]).toEqual([text, true]);
    if (reason === 'end-of-text') expect([text, whole(text)]).toEqual([text, true]);
    else expect(reason).toBe('length');
  });
});

test('lossless is full, and drafts are right in it; a whole text ends without another pass', async () => {
  const eager = eagerSession(staged);
  let right = 0;
  for (const rules of Object.values(grammars))
    for (const more of [{}, { sampling, seed: 9 }]) {
      const ids = ({ tokens }: Written): unknown => tokens.map(({ id, text, confidence }) => [id, text, confidence]);
      const full = await written(eager, rules, more);
      const lossless = await written(eager, rules, { ...more, drafts });
      expect(ids(lossless)).toEqual(ids(full));
      right += lossless.tokens.filter(({ draft }) => draft?.accepted).length;
    }
  expect(right).toBeGreaterThan(10);
  const { reason, tokens } = await written(eager, grammars['schema']!);
  expect([reason, tokens.at(-1)!.text.trim()]).toEqual(['end-of-text', '}']);
  eager.dispose();
});

test('in a batch each keeps its own, and a free one its freedom', async () => {
  const session = openSession(staged);
  const alone = [];
  for (const rules of Object.values(grammars)) alone.push(await written(session, rules));
  const free = await written(session, grammars['schema']!, { allowed: null, maxTokens: 12 });
  const requests = Object.values(grammars).map((rules) => ({ rules, more: {} }));
  const all = await together(session, [
    ...requests,
    { rules: grammars['schema']!, more: { allowed: null, maxTokens: 12 } },
  ]);
  session.dispose();
  expect(all.map(({ text }) => text)).toEqual([...alone, free].map(({ text }) => text));
});

test('the most probable token that may is taken, as if all logits had been looked at', async () => {
  const session = openSession(staged);
  const greedy = await written(session, grammars['object']!, { maxTokens: 20 });
  // With rows of logits the same is found by the mask alone.
  const masked = await written(session, grammars['object']!, { maxTokens: 20, alternatives: 5 });
  session.dispose();
  expect(masked.text).toBe(greedy.text);
  for (const { alternatives, id } of masked.tokens) expect(alternatives![0]!.id).toBe(id);
});
