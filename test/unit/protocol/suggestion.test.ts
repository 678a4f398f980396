import { describe, expect, it } from 'vitest';
import {
  behindCharacters,
  firstCharacters,
  hasWholePart,
  newLength,
  shownTokens,
  textOfTokens,
} from '../../../protocol/suggestion.ts';
import type { StopReason, TokenRecord } from '../../../protocol/trace.ts';

const tokensOf = (pieces: string[]): TokenRecord[] => pieces.map((text, index) => ({ text, index }) as TokenRecord);
const kept = (text: string, prefix: string, suffix: string): string =>
  text.slice(0, newLength(text, { prefix, suffix }));

describe('what is new of a suggestion', () => {
  it('is all of one that repeats nothing, less blanks at its end', () => {
    expect(kept('return a + b;\n', 'function add() {\n  ', '\n}\n')).toBe('return a + b;');
    expect(kept('a\n\n  b', '', '')).toBe('a\n\n  b');
    expect(kept(' \n', '', '')).toBe('');
  });

  it('ends where the rest of the line comes again', () => {
    expect(kept('a, b)', 'add(', ')')).toBe('a, b');
    expect(kept('a, b);\n}', 'add(', ');\n}')).toBe('a, b');
    expect(kept('name: string): void {', 'greet(', '): void {\n}')).toBe('name: string');
  });

  it('keeps a bracket that the line before is still waiting for', () => {
    expect(kept('x)', 'foo(bar(', ')')).toBe('x)');
    expect(kept('x))', 'foo(bar(', ')')).toBe('x)');
  });

  it('ends before a line that is the next one below', () => {
    expect(kept('foo();\n}\n\nbar();', 'if (a) {\n  ', '\n}\nbaz();')).toBe('foo();');
    expect(kept('total += value;\n  return total;', '  ', '\n\n  return total;\n}')).toBe('total += value;');
  });

  it('tells a line from one that stands further in', () => {
    expect(kept('if (b) {\n    c();\n  }', '  ', '\n}')).toBe('if (b) {\n    c();\n  }');
  });

  it('is nothing where the whole suggestion is the next line', () => {
    expect(kept('return total;', '  ', '\n  return total;\n}')).toBe('');
  });
});

describe('tokens of a suggestion', () => {
  const shown = (pieces: string[], stop: StopReason, prefix = '', suffix = ''): string =>
    textOfTokens(shownTokens(tokensOf(pieces), stop, { prefix, suffix }));

  it('that was cut off end with the last whole line', () => {
    expect(shown(['return', ' total', ';', '\n', '}', '\n', 'export', ' fun'], 'length')).toBe('return total;\n}');
    expect(shown(['return', ' a', ';\n', '  b'], 'cancelled')).toBe('return a;');
  });

  it('that have but one line end with a whole word', () => {
    expect(shown(['sum', '(a)', ' / nu'], 'cancelled')).toBe('sum(a)');
    expect(shown(['const', ' total', ' = va'], 'cancelled')).toBe('const total');
    expect(shown(['val', 'ue'], 'length')).toBe('value');
    expect(shown(['// sums', ' up, then', ' al'], 'length')).toBe('// sums up, then');
  });

  it('never end inside an expression', () => {
    expect(shown(['foo', '(bar', ', ba'], 'cancelled')).toBe('foo');
    expect(shown(['(', 'a', ' + b'], 'length')).toBe('');
    expect(shown(['a', ' &&', ' b', '.c', '('], 'length')).toBe('a && b.c');
    expect(shown(['x', ' = "a', ' b'], 'cancelled')).toBe('x');
    expect(shown(['one();\n', 'two(\n', '  a,\n', '  b'], 'length')).toBe('one();');
    expect(shown(['one(\n', '  a,\n', '  b'], 'length')).toBe('one');
    expect(shown(['if (a) {\n', '  b();\n', '  c('], 'length')).toBe('if (a) {\n  b();');
    expect(shown(['const a =\n', '  b +\n', '  c'], 'length')).toBe('const a');
    expect(shown(['return', ' a', ' ===', ' 0', ' ? 0', ' - b'], 'cancelled')).toBe('return a === 0');
    expect(shown(['a', ' ? b', ' : c', ' + d'], 'cancelled')).toBe('a ? b : c');
    expect(shown(['a', ' ? b', ' (c)'], 'cancelled')).toBe('a');
    expect(shown(['a();\n', 'b = c', ' ? d\n', '  : e.f'], 'cancelled')).toBe('a();');
    expect(shown(['// why ? so\n', 'a?.b ??', ' c;\n', 'd'], 'cancelled')).toBe('// why ? so\na?.b ?? c;');
  });

  it('that ended by themselves are whole, and cut before what stands behind', () => {
    expect(shown(['return', ' a', ';', '\n', '  '], 'end-of-text')).toBe('return a;');
    expect(shown(['a, ', 'b)', ';'], 'end-of-text', 'add(', ');')).toBe('a, b');
  });

  it('are cut within a token, from either side', () => {
    const tokens = tokensOf(['foo', '(bar', ')']);
    for (let i = 0; i <= 8; i++) {
      expect(textOfTokens(firstCharacters(tokens, i))).toBe('foo(bar)'.slice(0, i));
      expect(textOfTokens(behindCharacters(tokens, i))).toBe('foo(bar)'.slice(i));
    }
    expect(behindCharacters(tokens, 5).map(({ index }) => index)).toEqual([1, 2]);
  });

  it('can be shown once there is a whole word', () => {
    expect(['', '  ', 'val'].map(hasWholePart)).toEqual([false, false, false]);
    expect(['value ', 'a.b', ');'].map(hasWholePart)).toEqual([true, true, true]);
  });
});
