import { describe, expect, it } from 'vitest';
import { completionTokens, windowStart } from '../../../extension/prompt-window.ts';
import type { TokenRecord } from '../../../protocol/trace.ts';

const line = (i: number): string => (i % 10 === 9 ? '\n' : `const value${i} = ${i};\n`);
const text = Array.from({ length: 2_000 }, (_, i) => line(i)).join('');

describe('the window before the cursor', () => {
  it('is all of a text that fits', () => {
    expect(windowStart(text, 8_000, 8_000)).toBe(0);
    expect(windowStart('abc', 3, 8_000)).toBe(0);
  });

  it('stays where it is while one types, and moves a few times in a long text', () => {
    const starts = new Set<number>();
    for (let end = 8_001; end < 28_000; end += 40) {
      const start = windowStart(text, end, 8_000);
      const length = end - start;
      expect(length).toBeLessThanOrEqual(8_000);
      expect(length).toBeGreaterThan(8_000 / 2 - 8_000 / 8);
      starts.add(start);
    }
    expect(starts.size).toBe(5);
  });

  it('begins behind a blank line, or at least with a line', () => {
    const start = windowStart(text, 12_345, 8_000);
    expect(text.slice(0, start)).toMatch(/;\n\n$/);
    const dense = text.replaceAll('\n\n', '\n');
    expect(dense[windowStart(dense, 12_345, 8_000) - 1]).toBe('\n');
    expect(windowStart('x'.repeat(9_000), 9_000, 8_000)).toBe(4_000);
  });

  it('does not depend on what is typed at its end', () => {
    const end = 12_345;
    expect(windowStart(`${text.slice(0, end)}return`, end + 6, 8_000)).toBe(windowStart(text, end, 8_000));
  });
});

describe('a completion', () => {
  const shown = (pieces: string[], stop: 'length' | 'end-of-text'): string => {
    const tokens = pieces.map((piece, i) => ({ text: piece, index: i }) as TokenRecord);
    return completionTokens(tokens, stop)
      .map((token) => token.text)
      .join('');
  };

  it('that was cut off ends with its last whole line', () => {
    expect(shown(['return', ' total', ';', '\n', '}', '\n', 'export', ' fun'], 'length')).toBe('return total;\n}');
    expect(shown(['return', ' a', ';\n', '  b'], 'length')).toBe('return a;');
  });

  it('that has but one line ends with a whole word', () => {
    expect(shown(['foo', '(bar', ', ba'], 'length')).toBe('foo(bar');
    expect(shown(['foo', '(', 'ba'], 'length')).toBe('foo(');
    expect(shown(['val', 'ue'], 'length')).toBe('value');
  });

  it('that ended by itself is whole, without blanks at its end', () => {
    expect(shown(['return', ' a', ';', '\n', '  '], 'end-of-text')).toBe('return a;');
    expect(shown(['\n', ' '], 'end-of-text')).toBe('');
  });
});
