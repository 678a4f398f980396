/** Texts that are timed side by side: whose turn it is, what counts, and what is left behind. */
import { setTimeout } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { openSession } from '../../../backend/decoding/session.ts';
import { timeSideBySide, timeTexts } from '../../../backend/evaluation/side-by-side.ts';
import { openStagedModel } from '../../../backend/runtime/open.ts';
import { plainRequest } from '../../support/decoding.ts';
import { tinyModel } from '../../support/models.ts';

type Event = Awaited<ReturnType<Parameters<typeof timeSideBySide>[0][number]['next']>>['value'];

const event = (type: 'prompt' | 'tokens' | 'stop', tokens = 0): Event => ({
  type,
  tokens: Array.from({ length: tokens }, () => ({})),
});

/** A text whose passes write these numbers of tokens, and take these milliseconds; it notes each in `log`. */
async function* text(
  name: string,
  log: string[],
  passes: readonly number[],
  pass = 0,
  prompt = 0,
): AsyncGenerator<Event> {
  try {
    await setTimeout(prompt);
    yield event('prompt');
    for (const tokens of passes) {
      await setTimeout(pass);
      log.push(name);
      yield event('tokens', tokens);
    }
    yield event('stop');
  } finally {
    log.push(`${name} left`);
  }
}

test('the text with the fewest tokens takes the next pass, and every text ends', async () => {
  const log: string[] = [];
  const timed = await timeSideBySide([text('a', log, [1, 1, 1, 1]), text('b', log, [3, 1]), text('c', log, [1, 1])]);
  expect(timed.map(({ tokens }) => tokens)).toEqual([4, 4, 2]);
  expect(log.join(' ')).toBe('a b c a c a c left a b a left b left');
});

test('time counts behind the prompts, for each text by itself', async () => {
  const [slow, quick] = await timeSideBySide([text('slow', [], [1, 1, 1], 40, 200), text('quick', [], [1, 1, 1])]);
  expect(slow!.seconds).toBeGreaterThan(0.1);
  expect(slow!.seconds).toBeLessThan(0.32);
  expect(quick!.seconds).toBeLessThan(0.1);
});

test('if a text fails, or it is cancelled, all texts are left', async () => {
  const log: string[] = [];

  const failing = (async function* (): AsyncGenerator<Event> {
    await setTimeout(0);
    throw new Error('out of memory');
  })();
  await expect(timeSideBySide([text('a', log, [1]), failing])).rejects.toThrow('out of memory');
  expect(log).toEqual(['a left']);
  const reason = new Error('cancelled');
  await expect(timeSideBySide([text('b', log, [1])], AbortSignal.abort(reason))).rejects.toBe(reason);
  expect(log).toEqual(['a left', 'b left']);
});

test('texts that share a session share the reading of their prompt, and take turns', async () => {
  const staged = await openStagedModel(tinyModel());
  const session = openSession(staged);
  const prompt = Array.from({ length: 60 }, (_, i) => i % 7);
  const log: string[] = [];
  const request = { ...plainRequest([], 4), prompt, number: 0, scores: null };
  const written: Record<string, string> = {};
  const told = new Map<string, number>();
  const texts = ['a', 'b'].map((name) => ({
    session: {
      ...session,
      async *write(requests: Parameters<typeof session.write>[0]) {
        for await (const event of session.write(requests)) {
          log.push(`${name} ${event.type}`);
          if (event.type === 'prompt') told.set(name, event.remembered);
          if (event.type === 'stop') written[name] = event.ids.ids.join();
          yield event;
        }
      },
    } as typeof session,
    request,
  }));
  const timed = await timeTexts(texts, new AbortController().signal);
  expect(timed.map(({ tokens }) => tokens)).toEqual([4, 4]);
  expect(told).toEqual(new Map([['a', 0], ['b', prompt.length]])); // prettier-ignore
  expect(written['a']).toBe(written['b']);
  const turns = log.filter((line) => line.endsWith('tokens')).map(([name]) => name);
  expect(turns.join('')).toBe('abababab');
  session.dispose();
  await staged.dispose();
});
