import { expect, it } from 'vitest';
import { turnsOf } from '../../../protocol/chat-turns.ts';

const said = (role: number, ...values: unknown[]) => ({ role, content: values.map((value) => ({ value })) });

it('messages become turns: the system first, neighbours of one role as one, the user before the assistant', () => {
  expect(
    turnsOf([
      said(2, 'Hello.'),
      said(1, 'Sum ', 'up.'),
      said(1, 'In TypeScript.'),
      said(2, 'const a;'),
      said(3, 'Be brief.'),
      said(1, ' '),
      said(1, 'Thanks.'),
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
  expect(turnsOf([said(1)])).toEqual([]);
});
