/** Prompts of tasks: where an answer ends, and what cannot be asked is refused with the task's line. */
import { afterAll, expect, it } from 'vitest';
import { loadTokenizer, type Tokenizer } from '../../../../backend/data/tokenizer/tokenizer.ts';
import { firstEnd } from '../../../../backend/decoding/text.ts';
import { askFor, type TaskPrompt } from '../../../../backend/evaluation/tasks/ask.ts';
import type { Task, TaskForm } from '../../../../backend/evaluation/tasks/task.ts';
import { openWithTokenizer } from '../../../../backend/recipes/opening/opened.ts';
import { shippedModel } from '../../../support/golden.ts';
import { sentencePieceFile } from '../../data/fixtures.ts';
import { temporaryFolder } from '../../formats/fixtures.ts';

const { model, tokenizer } = openWithTokenizer(shippedModel);
afterAll(() => model.close());

const ask = (form: TaskForm, contextLength = 512, by: Tokenizer = tokenizer): Promise<TaskPrompt> => {
  const task: Task = { ...form, id: 'a', place: 'a.jsonl:1', canonical: null };
  const asking = { tokenizer: by, chat: false, answerTokens: null, contextLength };
  return askFor(task, asking, new AbortController().signal);
};

/** What an answer has of a text, a piece at a time. */
function answered({ ends }: TaskPrompt, pieces: readonly string[]): string {
  const end = firstEnd(ends.map((each) => each()));
  let text = '';
  for (const piece of pieces) {
    text += piece;
    const { safe, reason } = end.push(piece);
    if (reason !== null) return text.slice(0, safe);
  }
  return text;
}

const fill = { form: 'fill', isLine: true, goesOn: false, language: 'python', tests: '', line: null } as const;

it('an answer that is a line has its end; one that is a part of a line has none', async () => {
  const pieces = ['\n', '  2', ' + 3', '\nreturn', '\n'];
  const whole = await ask({ ...fill, prefix: 'def f():\n', suffix: 'f()\n' });
  expect(answered(whole, pieces)).toBe('\n  2 + 3\n');
  const part = await ask({ ...fill, goesOn: true, prefix: 'def f():\n    return ', suffix: ' + 1\n' });
  expect(answered(part, pieces)).toBe('\n  2 + 3');
  const lines = await ask({ ...fill, isLine: false, goesOn: true, prefix: 'a ', suffix: ' b\n' });
  expect(lines.ends).toEqual([]);
});

it('a gap of several lines ends with a blank line if the model was not taught to fill in', async () => {
  const gap = { ...fill, isLine: false, prefix: 'def f():\n', suffix: 'f()\n' };
  const taught = { ...tokenizer, fim: { prefix: 1, suffix: 2, middle: 3, repository: null, file: null, ends: [], order: 'prefix-first' } } as const; // prettier-ignore
  expect((await ask(gap, 512, taught)).stops).toEqual([]);
  expect((await ask(gap)).stops).toEqual(['\n\n']);
  expect((await ask({ ...gap, isLine: true })).stops).toEqual([]);
});

it('a choice follows its question after one blank, also in SentencePiece', async () => {
  const pieces = loadTokenizer(sentencePieceFile(temporaryFolder()));
  const choice = { form: 'choice', prompt: 'a', choices: ['fox', 'b'], answer: 0, by: 'likelihood' } as const;
  const { choices } = await ask(choice, 512, pieces);
  expect(choices.map((ids) => ids.map((id) => pieces.tokenText(id)).join(''))).toEqual([' fox', ' b']);
});

it('refuses an empty prompt, and a choice that fills the context to its end', async () => {
  await expect(ask({ form: 'text', prompt: '', references: ['a'], metric: 'exact' })).rejects.toThrow(
    /^a\.jsonl:1: the prompt is empty\.$/,
  );
  const choice = { form: 'choice', prompt: 'const a =', choices: [' 1', ' 2'], answer: 0, by: 'likelihood' } as const;
  const { ids, choices } = await ask(choice);
  const length = ids.length + Math.max(...choices.map((each) => each.length));
  await expect(ask(choice, length)).rejects.toThrow(
    /^a\.jsonl:1: the prompt has \d+ tokens?, and with an answer of \d/,
  );
  await expect(ask(choice, length + 1)).resolves.toMatchObject({ ids });
});
