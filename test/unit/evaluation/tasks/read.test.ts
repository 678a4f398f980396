/** Files of tasks become tasks, and an error in one names its line. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { readTasks } from '../../../../backend/evaluation/tasks/read.ts';

let root: string;
beforeAll(() => void (root = mkdtempSync(join(tmpdir(), 'tasks-'))));
afterAll(() => rmSync(root, { recursive: true, force: true }));

function file(name: string, ...lines: unknown[]): string {
  const path = join(root, name);
  const text = lines.map((line) => (typeof line === 'string' ? line : JSON.stringify(line))).join('\n');
  writeFileSync(path, name.endsWith('.gz') ? gzipSync(text) : text);
  return path;
}

const humanEval = {
  task_id: 'HumanEval/0',
  prompt: 'def f():\n',
  entry_point: 'f',
  canonical_solution: '    return 1\n',
  test: 'def check(c):\n    assert c() == 1\n',
};

it('reads HumanEval, packed or not', () => {
  const { sets } = readTasks(file('HumanEval.jsonl.gz', humanEval), null);
  expect(sets).toMatchObject([
    {
      name: 'HumanEval',
      tasks: [{ form: 'code', id: 'HumanEval/0', language: 'python', canonical: '    return 1\n' }],
    },
  ]);
  const [task] = sets[0]!.tasks;
  expect(task!.form === 'code' && task!.tests).toBe('def check(c):\n    assert c() == 1\n\ncheck(f)\n');
});

it('reads a file with a byte order mark', () => {
  const text = `\uFEFF${JSON.stringify(humanEval)}`;
  for (const name of ['marked.jsonl', 'marked.jsonl.gz'])
    expect(readTasks(file(name, text), null).sets[0]!.tasks).toHaveLength(1);
});

it('reads infilling of a line and of more', () => {
  const two = { ...humanEval, task_id: 'b', suffix: 'x', canonical_solution: '    a = 1\n    b = 2\n' };
  const { sets } = readTasks(file('fill.jsonl', { ...humanEval, suffix: 'x' }, two), null);
  expect(sets[0]!.tasks).toMatchObject([
    { form: 'fill', prefix: 'def f():\n', suffix: 'x', isLine: true },
    { form: 'fill', isLine: false },
  ]);
});

it('knows of a gap within a line that the line goes on behind it, and of a gap of whole lines that it does not', () => {
  const span = (prompt: string, canonical_solution: string, suffix: string) => ({ ...humanEval, task_id: JSON.stringify([prompt, canonical_solution, suffix]), prompt, suffix, canonical_solution }); // prettier-ignore
  const published = file(
    'span.jsonl',
    span('def f():\n', '    return 1\n', '    pass\n'),
    span('def f():\n    return ', '1', ' + 1\n'),
    span('def f():\n    return 1 ', '+ 1', '\n'),
    span('def f():\n    ', 'a', ' = 1\n'),
    span('def f():\n    a ', '= 1\n', '    return a\n'),
    // What follows the line's end begins the next line.
    span('def f():\n    a ', '= 1\n    ', 'return a\n'),
  );
  const kinds = (path: string) =>
    readTasks(path, null).sets[0]!.tasks.map((task) => task.form === 'fill' && [task.isLine, task.goesOn]);
  const [lines, within] = [
    [true, false],
    [true, true],
  ];
  expect(kinds(published)).toEqual([lines, within, lines, within, lines, [false, true]]);
  const plain = (prefix: string, answer: string, suffix: string) => ({ form: 'fill', prefix, answer, suffix });
  const own = file(
    'own.jsonl',
    plain('a\n', 'b', 'c\n'),
    plain('a\n  ', 'b', 'c\n'),
    plain('a = ', 'b', ' + c\n'),
    plain('a = ', 'b', '\nc\n'),
    plain('a = ', 'b\n', 'c\n'),
  );
  expect(kinds(own)).toEqual([lines, lines, within, lines, lines]);
});

it('reads GSM8K', () => {
  const { sets } = readTasks(file('gsm8k.jsonl', { question: 'q', answer: 'so\n#### 1,234' }), null);
  expect(sets[0]!.tasks).toMatchObject([{ form: 'number', prompt: 'q', answer: 1234, id: 'line 1' }]);
});

it('reads plain lines of every form, each kind a set, and a choice in two ways', () => {
  const path = file(
    'mine.jsonl',
    { form: 'code', prompt: 'p', tests: 't', language: 'javascript' },
    { form: 'fill', id: 'f', prefix: 'a', suffix: 'c', answer: 'b' },
    '',
    { form: 'number', prompt: 'p', answer: 4 },
    { form: 'text', prompt: 'p', answers: ['x'], metric: 'f1' },
    { form: 'choice', prompt: 'p', choices: ['x', 'y'], answer: 1 },
  );
  const { sets } = readTasks(path, null);
  expect(sets.map(({ name }) => name)).toEqual(
    ['code', 'fill', 'number', 'f1', 'letter', 'likelihood'].map((measure) => `mine: ${measure}`),
  );
  expect(sets[1]!.tasks).toMatchObject([{ id: 'f', isLine: true, line: 'b', tests: null }]);
  expect(sets[2]!.tasks[0]!.place).toBe(`${path}:4`);
  expect(readTasks(path, 2).sets.map(({ name }) => name)).toEqual(['mine: code', 'mine: fill']);
});

it.each([
  ['empty.jsonl', [''], /empty\.jsonl holds no task/],
  ['no-json.jsonl', ['{'], /no-json\.jsonl:1 is no task/],
  ['list.jsonl', ['[]'], /list\.jsonl:1 is no task/],
  ['other.jsonl', [{ text: 'x' }], /other\.jsonl:1: this is no task of a kind that is known/],
  [
    'field.jsonl',
    [humanEval, { ...humanEval, task_id: 'b', prompt: undefined }],
    /field\.jsonl:2: prompt must be a text, but is missing/,
  ],
  ['entry.jsonl', [{ ...humanEval, entry_point: 'f(); g' }], /entry\.jsonl:1: entry_point must be a name/],
  ['gsm.jsonl', [{ question: 'q', answer: 'four' }], /gsm\.jsonl:1: answer must end with ####/],
  ['form.jsonl', [{ form: 'poem' }], /form\.jsonl:1: form must be one of code, fill/],
  ['fill-none.jsonl', [{ form: 'fill', prefix: 'a', suffix: 'b' }], /fill-none\.jsonl:1: tests or answer/],
  ['text.jsonl', [{ form: 'text', prompt: 'p', answers: [] }], /text\.jsonl:1: answers must hold a text/],
  [
    'choice.jsonl',
    [{ form: 'choice', prompt: 'p', choices: ['x', 'y'], answer: 2 }],
    /choice\.jsonl:1: answer must be one of 0 to 1/,
  ],
  ['twice.jsonl', [humanEval, humanEval], /twice\.jsonl:2: there is another task "HumanEval\/0"/],
])('%s is refused', (name, lines, message) => {
  expect(() => readTasks(file(name, ...lines), null)).toThrow(message);
});

it('says of a file that is not there, or is cut off', () => {
  expect(() => readTasks(join(root, 'none.jsonl'), null)).toThrow(/none\.jsonl/);
  const path = join(root, 'cut.jsonl.gz');
  writeFileSync(path, gzipSync('x'.repeat(10_000)).subarray(0, 20));
  expect(() => readTasks(path, null)).toThrow(/cannot be unpacked/);
});
