/** A text that must be repeatable has the bits of its prompt read as a whole, whatever is remembered of it. */
import { expect, test } from 'vitest';
import type { BatchRequest } from '../../../backend/decoding/batch.ts';
import { openSession, type Session } from '../../../backend/decoding/session.ts';
import { openModel } from '../../../backend/model/open.ts';
import { noExits, openStagedModel } from '../../../backend/runtime/open.ts';
import { plainRequest } from '../../support/decoding.ts';
import { shippedModel } from '../../support/golden.ts';

const ids = (length: number, seed: number): number[] =>
  Array.from({ length }, (_, i) => 300 + ((i * 37 + seed) % 4000));
const shared = ids(60, 0);

/** The probabilities of the first tokens behind a prompt, and how many of the prompt's were remembered. */
async function written(session: Session, prompt: readonly number[], isRepeatable: boolean) {
  const request: BatchRequest = { ...plainRequest([], 4), prompt, number: 0, scores: null, isRepeatable };
  const said: number[] = [];
  let remembered = 0;
  for await (const event of session.write([request])) {
    if (event.type === 'prompt') remembered = event.remembered;
    if (event.type === 'tokens') said.push(...event.tokens.map(({ confidence }) => confidence));
  }
  return { said, remembered };
}

test('a text has the bits of its prompt read as a whole only if enough of it is read', async () => {
  const model = openModel(shippedModel);
  const staged = await openStagedModel(model, noExits, { arithmetic: 'int8', threads: 2 });
  const opened: Session[] = [];
  const session = (): Session => {
    const one = openSession(staged);
    opened.push(one);
    return one;
  };
  try {
    const prompt = [...shared, ...ids(40, 11)];
    const alone = await written(session(), prompt, true);
    const behind = async (isRepeatable: boolean) => {
      const one = session();
      await written(one, [...shared, ...ids(70, 5)], isRepeatable);
      return written(one, prompt, isRepeatable);
    };
    expect(await behind(true)).toEqual({ said: alone.said, remembered: 36 });
    const other = await behind(false);
    expect(other.remembered).toBe(60);
    expect(other.said).not.toEqual(alone.said);
  } finally {
    for (const one of opened) one.dispose();
    await staged.dispose();
    model.close();
  }
});
