/** Requests of the bench: each once, and none about a topic that exits were tuned or calibrated on. */
import { expect, test } from 'vitest';
import { requestsFor } from '../../bench/chats.ts';

test('requests are all others, and what is measured is about other topics', () => {
  const purposes = ['tuning', 'calibrating', 'measuring'] as const;
  const all = purposes.flatMap(requestsFor);
  expect(new Set(all).size).toBe(all.length);
  const form = 'Write a letter to an old friend about ';
  const about = purposes.map((purpose) =>
    requestsFor(purpose).flatMap((one) => (one.startsWith(form) ? [one.slice(form.length, -1)] : [])),
  );
  expect(about.map(({ length }) => length)).toEqual([16, 8, 8]);
  expect(new Set(about.flat()).size).toBe(32);
});
