/** Every judge agrees with what the data set itself holds for right, and lets no empty answer pass. */
import { describe, expect, it, vi } from 'vitest';
import { lastNumber, letterIn, openJudge, programOf, scoreOf } from '../../../../backend/evaluation/tasks/judge.ts';
import type { Ending, Sandbox } from '../../../../backend/evaluation/tasks/sandbox.ts';
import { openSandbox } from '../../../../backend/evaluation/tasks/sandbox.ts';
import type { Task, TaskForm } from '../../../../backend/evaluation/tasks/task.ts';

const task = (form: TaskForm, canonical: string): Task => ({ ...form, id: 'a', place: 'a.jsonl:1', canonical });

const head = 'def double(n):\n    """Twice n."""\n';
const code = task(
  {
    form: 'code',
    language: 'python',
    prompt: head,
    tests: 'assert double(4) == 8\n',
  },
  '    return 2 * n\n',
);
const javascript = task(
  {
    form: 'code',
    language: 'javascript',
    prompt: '/** Twice n. */\nfunction double(n) {\n',
    tests: 'require("node:assert").equal(double(4), 8);\n',
  },
  '  return 2 * n;\n}\n',
);
const fill = task(
  {
    form: 'fill',
    isLine: true,
    goesOn: false,
    language: 'python',
    prefix: 'def double(n):\n',
    suffix: '    return m\n',
    tests: 'assert double(4) == 8\n',
    line: null,
  },
  '    m = 2 * n\n',
);
const line = task(
  {
    form: 'fill',
    isLine: true,
    goesOn: false,
    language: 'python',
    prefix: 'a\n',
    suffix: 'c\n',
    tests: null,
    line: 'b',
  },
  '  b\n',
);
const part = task(
  {
    form: 'fill',
    isLine: true,
    goesOn: true,
    language: 'python',
    prefix: 'def double(n):\n    return ',
    suffix: ' + n\n',
    tests: 'assert double(4) == 8\n',
    line: null,
  },
  'n',
);
const number = task({ form: 'number', prompt: '1 + 1?', answer: 1234.5 }, 'That makes $1,200 and then 1,234.5.');
const texts = (['exact', 'contains', 'f1', 'rouge-l'] as const).map((metric) =>
  task({ form: 'text', prompt: 'Who?', references: ['Ada Lovelace', 'The Countess'], metric }, 'ada lovelace.'),
);
const choice = task(
  { form: 'choice', prompt: 'Which?', choices: ['x', 'y', 'z'], answer: 1, by: 'letter' },
  'The answer is B.',
);
const all = [code, javascript, fill, line, part, number, ...texts, choice];

describe('canonical answers and empty ones', async () => {
  const sandbox = await openSandbox(new Set(['python', 'javascript']));
  const judge = openJudge(sandbox);
  it.each(all)('$form $metric $language', async (each) => {
    expect((await judge(each, each.canonical!)).score).toBe(1);
    for (const empty of ['', '\n', '   ']) expect((await judge(each, empty)).score).toBe(0);
  });

  it('an answer that the tests would not miss is still no answer', async () => {
    const idle = { ...fill, suffix: '    return 2 * n\n' };
    expect((await judge(idle, '\n')).score).toBe(0);
    expect((await judge(idle, '    pass\n')).score).toBe(1);
  });
});

it('runs a program once, however many ways of decoding wrote it', async () => {
  const run = vi.fn(async (): Promise<Ending> => 'passed');
  const sandbox: Sandbox = { run, dispose: () => undefined };
  const judge = openJudge(sandbox);
  await Promise.all([judge(code, 'x'), judge(code, 'x'), judge(code, 'y')]);
  expect(run).toHaveBeenCalledTimes(2);
});

it('takes the code out of the answer of a chat, with what the prompt has before its last function', () => {
  const task = { ...code, prompt: `from typing import List\n\n${head}` } as Task;
  const answer = 'Here:\n```python\ndef double(n):\n    return n + n\n```\nIt adds.';
  expect(programOf(task, answer)!.text).toBe(
    'from typing import List\n\ndef double(n):\n    return n + n\n\nassert double(4) == 8\n',
  );
  expect(programOf(task, '```\n    return 8\n```')!.text).toContain('Twice n."""\n    return 8\n');

  const helper = 'def half(n):\n    return n // 2\n\n\n';
  const begun = (language: 'python' | 'javascript', prompt: string) =>
    ({ ...code, language, prompt, tests: '' }) as Task;
  const written = (of: Task, block: string) => programOf(of, `\`\`\`\n${block}\`\`\``)!.text.trimEnd();
  const double = 'async def double(n):\n    return n\n';
  expect(written(begun('python', `${helper}@cache\nasync def double(n):\n`), `@cache\n${double}`)).toBe(
    `${helper}@cache\n${double}`.trimEnd(),
  );
  // In Python a helper may be defined twice; JavaScript refuses a constant that is.
  expect(written(begun('python', helper + head), helper + double)).toBe(`${helper}${helper}${double}`.trimEnd());
  const two = 'const two = 2;\n';
  const whole = 'export async function double(n) {\n  return two * n;\n}\n';
  const half = begun('javascript', `${two}export async function double(n) {\n`);
  for (const block of [whole, two + whole]) expect(written(half, block)).toBe((two + whole).trimEnd());
});

/** A task whose prompt is begun code, with no tests. */
const begunJavascript = (prompt: string) => ({ ...code, language: 'javascript', prompt, tests: '' }) as Task;

it.each([
  ['const { two, three } = require("x");', 'const {\n  two,\n  three,\n} = require("x");'],
  ['const [two] = [2];', 'const [ two ] = [2];'],
  ['let $two = 2;', 'let $two = 2;'],
  ['function* two() {}', 'function* two() {}'],
])('a block that declares what the prompt has declared repeats it: %j', (declared, again) => {
  const block = `${again}\nfunction double(n) {}\n`;
  const prompt = `${declared}\nfunction double(n) {\n`;
  expect(programOf(begunJavascript(prompt), `\`\`\`\n${block}\`\`\``)!.text).toBe(`${block}\n`);
  const alone = 'function double(n) {}\n';
  expect(programOf(begunJavascript(prompt), `\`\`\`\n${alone}\`\`\``)!.text).toBe(`${declared}\n${alone}\n`);
});

it.each([
  ['a title', '```ts title=x\n1;\n```'],
  ['braces', '  ```js {1,2}\n1;\n```'],
  ['words before it', 'Here: ```js\n1;\n```'],
  ['ends of lines as on Windows', 'Here:\r\n```js\r\n1;\n```'],
  ['inline code before it', 'With ```f``` and so on:\n```js\n1;\n```'],
  ['no end', '```js title="a b"\n1;\n'],
])('finds a block of code whose fence has %s', (_, answer) => {
  expect(programOf(begunJavascript(''), answer)!.text).toBe('1;\n\n');
});

it.each([
  ['It is 3, or 4.', 4],
  ['#### -1,200', -1200],
  ['$5.50.', 5.5],
  ['1,234.5', 1234.5],
  ['-3', -3],
  ['It is 3.', 3],
  ['10-15', 15],
  ['10 - -15', -15],
  ['.5', 0.5],
  ['-.5', -0.5],
  ['1.2.3', 3],
  ['$1,000.', 1000],
  ['none', null],
])('the last number of %j', (text, value) => {
  expect(lastNumber(text)).toBe(value);
});

it.each([
  ['B', 'B'],
  [' (C) since', 'C'],
  ['Answer: A.', 'A'],
  ['Because', null],
  ['D', null],
])('the letter in %j', (text, letter) => {
  expect(letterIn(text, 3)).toBe(letter);
});

it.each(['A', 'the', '+', '!=', 'a +'])('%j can be right though it has no word', (reference) => {
  const metrics = ['exact', 'contains', 'f1', 'rouge-l'] as const;
  for (const metric of metrics) {
    const one = task({ form: 'text', prompt: '?', references: [reference], metric }, reference);
    expect(scoreOf(one, ` ${reference}\n`)).toBe(1);
    for (const wrong of ['', '-', 'b']) expect(scoreOf(one, wrong)).toBe(0);
  }
  const [, contains] = metrics;
  const within = task({ form: 'text', prompt: '?', references: [reference], metric: contains }, reference);
  expect(scoreOf(within, `It is ${reference} here`)).toBe(1);
});

it('tells words apart by their marks, however these are encoded', () => {
  const exact = (reference: string) =>
    task({ form: 'text', prompt: '?', references: [reference], metric: 'exact' }, '');
  // Vowels of Devanagari: without them both are the same consonants.
  expect(scoreOf(exact('दिल'), 'दिल।')).toBe(1);
  expect(scoreOf(exact('दिल'), 'दाल')).toBe(0);
  expect(scoreOf(exact('caf\u00e9'), 'Cafe\u0301!')).toBe(1);
  expect(scoreOf(exact('cafe'), 'Cafe\u0301')).toBe(0);
  // A mark may also say how a sign is drawn.
  expect(scoreOf(exact('Paris'), 'Paris \u2764\ufe0f')).toBe(1);
});

it('scores texts by what they have in common', () => {
  const [exact, contains, f1, rouge] = texts as [Task, Task, Task, Task];
  const answer = 'It was Ada Lovelace';
  expect([exact, contains].map((each) => scoreOf(each, answer))).toEqual([0, 1]);
  // Two of four words, and both of two: 2 · 2 ÷ (4 + 2).
  expect(scoreOf(f1, answer)).toBeCloseTo(4 / 6);
  expect(scoreOf(f1, 'Lovelace Ada')).toBe(1);
  expect(scoreOf(rouge, 'Lovelace Ada')).toBe(0.5);
});
