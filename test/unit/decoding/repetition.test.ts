import { describe, expect, it } from 'vitest';
import { repetitionEnd } from '../../../backend/decoding/repetition.ts';

function kept(text: string, size = 4): { shown: string; reason: string | null } {
  const end = repetitionEnd();
  let safe = 0;
  for (let at = 0; at < text.length; at += size) {
    const now = end.push(text.slice(at, at + size));
    expect(now.safe).toBeGreaterThanOrEqual(safe);
    safe = now.safe;
    if (now.reason !== null) return { shown: text.slice(0, safe), reason: now.reason };
  }
  return { shown: text.slice(0, end.settled()), reason: null };
}

describe('a repetition', () => {
  const line = '  total += value;\n';
  it('of a line is noticed at the third, and one is shown', () => {
    for (const size of [1, 4, 100])
      expect(kept(`a();\n${line.repeat(6)}`, size)).toEqual({
        shown: `a();\n${line}`.trimEnd(),
        reason: 'repetition',
      });
  });
  it('of several lines in turn is one, too, whatever is blank between', () => {
    const group = 'one();\n\ntwo();\n';
    expect(kept(`start\n${group.repeat(5)}`)).toEqual({
      shown: `start\n${group.repeat(2)}`.trimEnd(),
      reason: 'repetition',
    });
  });
  it('is none where a line comes twice, or only brackets come again', () => {
    const text = `${line}${line}  total -= value;\n${line}    }\n    }\n    }\n    }\n1,\n1,\n1,\n`;
    expect(kept(text)).toEqual({ shown: text, reason: null });
  });
  it('of words within a line, and of nothing, is one, too', () => {
    expect(kept(`const a = ${'{ ...key, ...'.repeat(20)}`).reason).toBe('repetition');
    expect(kept(`a();${'\n'.repeat(20)}b();\n`)).toEqual({ shown: `a();${'\n'.repeat(6)}`, reason: 'repetition' });
    const row = `[${'0, '.repeat(40)}]\n`;
    expect(kept(row)).toEqual({ shown: row, reason: null });
  });
  it('counts what stands before the text on its first line', () => {
    const end = repetitionEnd('  ');
    expect(end.push(`total();\n  total();\n  total();\n`).reason).toBe('repetition');
  });
  it('holds an equal line back until one differs', () => {
    const end = repetitionEnd();
    end.push(line);
    expect(end.push('  total').safe).toBe(line.length - 1);
    expect(end.push(' += value;\n  to').safe).toBe(line.length - 1);
    expect(end.push('tal -').safe).toBe(2 * line.length + '  total -'.length);
  });
  it('holds a third group of lines back until it differs', () => {
    const end = repetitionEnd();
    const group = 'one();\ntwo();\n';
    end.push(group + group);
    expect(end.push('one();\ntw').safe).toBe(2 * group.length - 1);
    expect(end.push('i').safe).toBe(2 * group.length + 'one();\ntwi'.length);
  });
});
