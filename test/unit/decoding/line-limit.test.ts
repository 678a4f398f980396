/** Texts that end with a line once their time is over, by a clock that goes on 10 ms with every token. */
import { expect, test, vi } from 'vitest';
import { decode } from '../../../backend/decoding/decode.ts';
import { openSession } from '../../../backend/decoding/session.ts';
import { openStagedModel } from '../../../backend/runtime/open.ts';
import { endingWithLine } from '../../../backend/decoding/line-limit.ts';
import { plainRequest } from '../../support/decoding.ts';
import { idCodec, tinyModel } from '../../support/models.ts';

test.each([
  [1000, 'ab\ncd\nefg'],
  [25, 'ab\ncd\n'],
  [20, 'ab\ncd\n'],
  [19, 'ab\n'],
])('after %d ms: %j', async (milliseconds, expected) => {
  const model = tinyModel();
  const staged = await openStagedModel(model);
  let now = 0;
  const clock = vi.spyOn(performance, 'now').mockImplementation(() => now);
  const pieces = [...'ab\ncd\nefg'];
  const decoder = (): ReturnType<typeof idCodec.decoder> => ({
    push: () => ((now += 10), pieces.shift()!),
    flush: () => '',
  });
  const request = plainRequest([[7, 99, 23, 4]], 9, { codec: { ...idCodec, decoder } });
  let text = '';
  let reason: string | null = null;
  for await (const event of decode(openSession(staged), endingWithLine(request, milliseconds))) {
    if (event.type === 'token') text += event.token.text;
    if (event.type === 'stop') reason = event.reason;
  }
  clock.mockRestore();
  expect([text, reason]).toEqual([expected, milliseconds === 1000 ? 'length' : 'cancelled']);
  await staged.dispose();
  model.close();
});
