/** Where a text at a cursor ends: what a model went on to say, and how much of it belongs there. */
import { describe, expect, it } from 'vitest';
import { placeEnd } from '../../../../backend/recipes/writing/place-end.ts';
import type { StopReason } from '../../../../protocol/trace.ts';

/** The rest of a text that comes in tokens of this number of characters, and why it ended there. */
function endedAt(
  before: string,
  written: string,
  maxTokens = 1000,
  size = 3,
): { text: string; reason: StopReason | null } {
  const [prefix = '', suffix = ''] = before.split('|');
  const end = placeEnd({ prefix, suffix }, maxTokens);
  let text = '';
  let safe = 0;
  for (let at = 0; at < written.length; at += size) {
    const piece = written.slice(at, at + size);
    text += piece;
    const now = end.push(piece);
    // What was safe stays so.
    expect(now.safe).toBeGreaterThanOrEqual(safe);
    expect(now.safe).toBeLessThanOrEqual(text.length);
    safe = now.safe;
    if (now.reason !== null) return { text: text.slice(0, now.safe), reason: now.reason };
  }
  return { text: text.slice(0, end.settled()), reason: null };
}

const cases: [name: string, before: string, written: string, kept: string][] = [
  [
    'the body of a function whose end stands behind',
    'class A {\n  mean() {\n    |\n  }\n}\n',
    'const n = this.values.length;\n    return this.sum() / n;\n  }\n\n  other() {\n    return 1;\n  }\n',
    'const n = this.values.length;\n    return this.sum() / n;',
  ],
  [
    'the body of a function that nothing closes, with its bracket',
    'class A {\n  mean() {\n    |',
    'for (const v of this.values) {\n      t += v;\n    }\n    return t;\n  }\n\n  other() {\n    return 1;\n  }\n',
    'for (const v of this.values) {\n      t += v;\n    }\n    return t;\n  }',
  ],
  [
    'a function at the top, and no second one',
    'import a from "a";\n\n|',
    'export function f(a: number) {\n  if (a) {\n    return 1;\n  }\n\n  return 2;\n}\n\nexport function g() {}\n',
    'export function f(a: number) {\n  if (a) {\n    return 1;\n  }\n\n  return 2;\n}',
  ],
  [
    'a function under its comment',
    '// Adds two numbers.|',
    '\nfunction add(a, b) {\n  return a + b;\n}\nfunction sub() {}\n',
    '\nfunction add(a, b) {\n  return a + b;\n}',
  ],
  [
    'one member of a class',
    'class A {\n  a = 1;\n\n  |\n}\n',
    'get b() {\n    return 2;\n  }\n\n  get c() {\n    return 3;\n  }\n}\n',
    'get b() {\n    return 2;\n  }',
  ],
  [
    'the rest of a statement',
    'function f(values) {\n  const mean = |\n}\n',
    'sum(values) / values.length;\n  return mean;\n}\n',
    'sum(values) / values.length;',
  ],
  ['a statement of several lines', 'const a = f|\n', '(\n  1,\n  2,\n);\nconst b = 2;\n', '(\n  1,\n  2,\n);'],
  [
    'a chain of calls',
    '  const a = list|\n',
    '\n    .map((x) => x + 1)\n    .filter(Boolean);\n  return a;\n',
    '\n    .map((x) => x + 1)\n    .filter(Boolean);',
  ],
  [
    'a statement with its block',
    'function f(a) {\n  if (a) {|\n}\n',
    '\n    return 1;\n  }\n  return 2;\n}\n',
    '\n    return 1;\n  }',
  ],
  [
    'both branches',
    'function f(a) {\n  if (a)|\n}\n',
    ' {\n    return 1;\n  } else {\n    return 2;\n  }\n  return 3;\n',
    ' {\n    return 1;\n  } else {\n    return 2;\n  }',
  ],
  [
    'a callback with all its brackets',
    'describe("a", () => {|',
    '\n  it("b", () => {\n    c();\n  });\n});\n\ndescribe("d", () => {});\n',
    '\n  it("b", () => {\n    c();\n  });\n});',
  ],
  ['what a bracket behind the cursor closes', 'f(a, |);\ng();\n', 'b, c);\ng();\n', 'b, c'],
  [
    'a function by its indent',
    'def mean(values):|\n',
    '\n    n = len(values)\n\n    return sum(values) / n\n\n\ndef other():\n    pass\n',
    '\n    n = len(values)\n\n    return sum(values) / n',
  ],
  [
    'the rest of a block by its indent',
    'def f(a):\n    if a:\n        |\n    return 2\n',
    'b = 1\n        return b\n    return 2\n',
    'b = 1\n        return b',
  ],
  [
    'a function by its indent at the top',
    'import os\n\n|',
    'def f(a):\n    if a:\n        return 1\n    else:\n        return 2\n\n\ndef g():\n    pass\n',
    'def f(a):\n    if a:\n        return 1\n    else:\n        return 2',
  ],
  [
    'what stands behind',
    'function f() {\n  const a = 1;\n  |\n  return a + b;\n}\n',
    'const b = 2;\n  return a + b;\n}\n',
    'const b = 2;',
  ],
  [
    'brackets within strings and comments as text',
    'function f() {\n  |\n}\n',
    "a(')');\n  // }\n  b(\"}\"); // it's\n  c(`}`);\n}\n",
    "a(')');\n  // }\n  b(\"}\"); // it's\n  c(`}`);",
  ],
];

describe('a text at a cursor is', () => {
  it.each(cases)('%s', (_, before, written, kept) => {
    for (const size of [1, 3, 7, 50])
      expect(endedAt(before, written, 1000, size)).toEqual({ text: kept, reason: 'block-end' });
  });

  it('without blanks at its end, should the model say no more', () => {
    expect(endedAt('function f() {\n  |\n}\n', 'a();\n  b();\n  ')).toEqual({ text: 'a();\n  b();', reason: null });
  });

  it('at its limit whole lines, and no half of a call', () => {
    const written = 'first();\n  second(\n    third,\n  );\n  fourth();\n';
    const at = (tokens: number) => endedAt('function f() {\n  |\n}\n', written, tokens, 4);
    expect(at(1)).toEqual({ text: 'first();', reason: 'length' });
    expect(at(4)).toEqual({ text: 'first();\n  second(\n    third,\n  );', reason: 'length' });
    expect(at(6)).toEqual({ text: 'first();\n  second(\n    third,\n  );', reason: 'length' });
  });

  it('gone on with behind a limit as if it had not been', () => {
    const begun = 'function f() {\n  first();';
    expect(endedAt(`${begun}|\n}\n`, '\n  second();\n  third();\n}\n').text).toBe('\n  second();\n  third();');
  });
});
