/** Texts that end with a line once their time is over, by a clock that goes on 10 ms with every token. */
import { expect, test, vi } from 'vitest';
import { decode } from '../../../backend/decoding/decode.ts';
import { openSession } from '../../../backend/decoding/session.ts';
import { openStagedModel } from '../../../backend/runtime/open.ts';
import { lineLimit } from '../../../backend/decoding/line-limit.ts';
import { plainRequest } from '../../support/decoding.ts';
import { idCodec, tinyModel } from '../../support/models.ts';

const letters = [...'ab\ncd\nefg'];

test.each([
  [1000, letters, [], 'ab\ncd\nefg'],
  [25, letters, [], 'ab\ncd\n'],
  [20, letters, [], 'ab\ncd\n'],
  [19, letters, [], 'ab\n'],
  // What could become a stop text is held back, and belongs to the text that ends there.
  [25, ['a', '(', 'b', ');\n', 'c'], ['\n\n'], 'a(b);\n'],
])('after %d ms of %j, with stop texts %j: %j', async (milliseconds, written, stopStrings, expected) => {
  const model = tinyModel();
  const staged = await openStagedModel(model);
  let now = 0;
  const clock = vi.spyOn(performance, 'now').mockImplementation(() => now);
  const pieces = [...written];
  const decoder = (): ReturnType<typeof idCodec.decoder> => ({
    push: () => ((now += 10), pieces.shift()!),
    flush: () => '',
  });
  const different = { codec: { ...idCodec, decoder }, stopStrings, ends: [lineLimit(milliseconds)] };
  let text = '';
  let reason: string | null = null;
  for await (const event of decode(openSession(staged), plainRequest([[7, 99, 23, 4]], written.length, different))) {
    if (event.type === 'token') text += event.token.text;
    if (event.type === 'stop') reason = event.reason;
  }
  clock.mockRestore();
  expect([text, reason]).toEqual([expected, 'length']);
  await staged.dispose();
  model.close();
});
