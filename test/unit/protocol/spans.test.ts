import { describe, expect, it } from 'vitest';
import { pieceAt, pieceOffsets, shiftSpan, withLineEnds } from '../../../protocol/spans.ts';

const span = { start: 10, end: 20 };

describe('shiftSpan', () => {
  it.each([
    ['text before', { offset: 2, removed: 1, inserted: 4 }, { start: 13, end: 23 }],
    ['a deletion that ends at the start', { offset: 5, removed: 5, inserted: 0 }, { start: 5, end: 15 }],
    ['an insertion at the start', { offset: 10, removed: 0, inserted: 3 }, { start: 13, end: 23 }],
    ['an insertion at the end', { offset: 20, removed: 0, inserted: 3 }, span],
    ['text after', { offset: 25, removed: 5, inserted: 0 }, span],
    ['an insertion inside', { offset: 11, removed: 0, inserted: 1 }, null],
    ['a deletion over the start', { offset: 8, removed: 3, inserted: 0 }, null],
    ['a deletion over the end', { offset: 19, removed: 3, inserted: 0 }, null],
    ['all of it replaced', { offset: 10, removed: 10, inserted: 10 }, null],
    ['everything replaced', { offset: 0, removed: 30, inserted: 30 }, null],
  ])('%s', (_, change, expected) => {
    expect(shiftSpan(span, change)).toEqual(expected);
  });

  it('agrees with the text itself over random edits', () => {
    let seed = 7;
    const random = (below: number): number => (seed = (seed * 48271) % 2147483647) % below;
    for (let round = 0; round < 500; round++) {
      let text = 'abcdefghij' + 'MARKEDTEXT' + 'klmnopqrst';
      let current: { start: number; end: number } | null = { start: 10, end: 20 };
      for (let edit = 0; edit < 4 && current; edit++) {
        const offset = random(text.length + 1);
        const change = { offset, removed: Math.min(random(4), text.length - offset), inserted: random(4) };
        text = text.slice(0, offset) + '·'.repeat(change.inserted) + text.slice(offset + change.removed);
        current = shiftSpan(current, change);
        if (current) expect(text.slice(current.start, current.end)).toBe('MARKEDTEXT');
      }
    }
  });
});

describe('pieces', () => {
  it('finds the piece at an offset and never an empty one', () => {
    const offsets = pieceOffsets(100, ['ab', '', 'c', '']);
    expect(offsets).toEqual([100, 102, 102, 103, 103]);
    expect([99, 100, 101, 102, 103].map((offset) => pieceAt(offsets, offset))).toEqual([-1, 0, 0, 2, -1]);
    expect(pieceAt([100], 100)).toBe(-1);
  });

  it('writes line ends as the document has them', () => {
    expect(withLineEnds('a\r\nb\n', '\n')).toBe('a\nb\n');
    expect(withLineEnds('a\nb\r\n', '\r\n')).toBe('a\r\nb\r\n');
  });
});
