import { expect, it } from 'vitest';
import { jsonLine, shown, shownRecord } from '../../../protocol/shown.ts';

it('makes visible what would do something in a terminal, and leaves text alone', () => {
  expect(shown('\x1b]0;title\x07\x1b[2J\r\n\x7f')).toBe('␛]0;title␇␛[2J␍␊␡');
  expect(shown('\u009b31m\u202eevil\u2066\u200b\ud800')).toBe('‹U+009B›31m‹U+202E›evil‹U+2066›‹U+200B›‹U+D800›');
  const text = 'Größe 漢字 👩‍👩‍👧 ␛ → ½';
  expect(shown(text)).toBe(text);
  expect(shown('a\tb\nc\r', { keep: '\n\t' })).toBe('a\tb\nc␍');
  expect(shown(shown('\x1b'))).toBe('␛');
});

it('cuts what is very long', () => {
  expect(shown('x'.repeat(10), { limit: 3 })).toBe('xxx … (10 characters)');
  expect(shown('x'.repeat(100_000)).length).toBeLessThan(2_100);
});

it('reaches every text of a record, names included', () => {
  expect(shownRecord({ model: '\x1b', losses: { '\x07': 1 }, list: ['\r', 2, null] })).toEqual({
    model: '␛',
    losses: { '␇': 1 },
    list: ['␍', 2, null],
  });
});

it('writes JSON that says the same and does nothing', () => {
  const value = { text: 'a\x1b[31m\u009b\u202e\ud800"\\\n', 'k\u0085': 1 };
  const line = jsonLine(value);
  expect(JSON.parse(line)).toEqual(value);
  expect(line).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202e]/);
});
