import { expect, it } from 'vitest';
import { turnsOf } from '../../../protocol/chat-turns.ts';

const turnOf = (role: number, ...values: unknown[]) => ({ role, content: values.map((value) => ({ value })) });

it('messages become turns: the system first, neighbours of one role as one, the user before the assistant', () => {
  expect(
    turnsOf([
      turnOf(2, 'Hello.'),
      turnOf(1, 'Sum ', 'up.'),
      turnOf(1, 'In TypeScript.'),
      turnOf(2, 'const a;'),
      turnOf(3, 'Be brief.'),
      turnOf(1, ' '),
      turnOf(1, 'Thanks.'),
    ]),
  ).toEqual([
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: 'Sum up.\n\nIn TypeScript.' },
    { role: 'assistant', content: 'const a;' },
    { role: 'user', content: 'Thanks.' },
  ]);
});

it('parts that are no text say nothing', () => {
  expect(turnsOf([{ role: 1, content: [{ callId: '1' }, { value: 3 }, { value: 'a' }, null] }])).toEqual([
    { role: 'user', content: 'a' },
  ]);
  expect(turnsOf([turnOf(1)])).toEqual([]);
});
