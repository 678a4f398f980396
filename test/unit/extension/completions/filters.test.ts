/** Where completions are offered: languages, comments, and the lines that are looked at. */
import { describe, expect, it } from 'vitest';
import { isInComment } from '../../../../extension/completions/comments.ts';
import { isLanguageOn } from '../../../../extension/completions/languages.ts';
import { firstCharacters, fullLines, lastCharacters } from '../../../../extension/completions/window.ts';

it('languages are let in by name, by *, and out by !', () => {
  const on = (filters: string[]): string[] =>
    ['typescript', 'markdown', 'python'].filter((language) => isLanguageOn(filters, language));
  expect(on(['*'])).toEqual(['typescript', 'markdown', 'python']);
  expect(on(['*', '!markdown'])).toEqual(['typescript', 'python']);
  expect(on(['!markdown'])).toEqual(['typescript', 'python']);
  expect(on(['python'])).toEqual(['python']);
  expect(on(['python', '!python'])).toEqual([]);
});

describe('a comment', () => {
  it.each([
    ['typescript', '// a'],
    ['typescript', 'foo(); // it'],
    ['typescript', '/** Adds\n * two'],
    ['python', 'x = 1  # the'],
    ['html', '<p>a</p> <!-- b'],
    ['sql', '-- all'],
    ['lua', '--[[ long\ncomment'],
  ])('of %s is recognised: %j', (language, before) => expect(isInComment(language, before)).toBe(true));

  it.each([
    ['typescript', '// a\nfoo('],
    ['typescript', 'const url = "http://'],
    ['typescript', "const path = '/*"],
    ['typescript', '`a\n// within a template'],
    ['typescript', '/* a */ foo('],
    ['typescript', "it('a \\' // b', "],
    ['python', 'a // b'],
    ['python', 'print("# no'],
  ])('of %s is none: %j', (language, before) => expect(isInComment(language, before)).toBe(false));
});

describe('the lines that are looked at', () => {
  it('hold the budgets, near 256 before and 64 after by default', () => {
    for (const line of [300, 500, 1_000]) {
      const { first, last } = fullLines(line, 10_000, 2048, 512);
      expect(line - first).toBeGreaterThanOrEqual(256);
      expect(line - first).toBeLessThan(256 + 128);
      expect(last - line).toBe(64);
    }
    expect(fullLines(3, 10, 2048, 512)).toEqual({ first: 0, last: 9 });
  });

  it('begin at the same line while one types', () => {
    const firsts = new Set(Array.from({ length: 256 }, (_, i) => fullLines(600 + i, 2_000, 2048, 512).first));
    expect(firsts.size).toBeLessThanOrEqual(3);
  });

  it('are cut off where they are enormous, the ones before at a place that stays while one types', () => {
    const text = Array.from({ length: 200_000 }, (_, i) => String.fromCharCode(97 + (i % 26))).join('');
    const starts = Array.from({ length: 100 }, (_, i) => {
      const before = text.slice(0, 150_000 + i);
      const kept = lastCharacters(before, 2048);
      expect(before.endsWith(kept)).toBe(true);
      expect(kept.length).toBeGreaterThan(24_000);
      expect(kept.length).toBeLessThanOrEqual(32_768);
      return before.length - kept.length;
    });
    expect(new Set(starts).size).toBe(1);
    expect(firstCharacters(text, 512)).toBe(text.slice(0, 8_192));
    expect(lastCharacters('a\nb', 2048)).toBe('a\nb');
    expect(firstCharacters('rest of the line', 0)).toBe('rest of the line');
  });
});
