import { describe, expect, it } from 'vitest';
import { windowStart } from '../../../extension/prompt-window.ts';

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
