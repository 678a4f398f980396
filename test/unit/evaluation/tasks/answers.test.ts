/** Choices by likelihood, of a session that has made-up ones. */
import { afterAll, expect, it } from 'vitest';
import type { BatchRequest } from '../../../../backend/decoding/batch.ts';
import type { Session } from '../../../../backend/decoding/session.ts';
import { writeAnswer } from '../../../../backend/evaluation/tasks/answers.ts';
import { askFor } from '../../../../backend/evaluation/tasks/ask.ts';
import type { Task } from '../../../../backend/evaluation/tasks/task.ts';
import type { Way } from '../../../../backend/evaluation/tasks/ways.ts';
import { openWithTokenizer } from '../../../../backend/recipes/opening/opened.ts';
import { shippedModel } from '../../../support/golden.ts';

const { model, tokenizer } = openWithTokenizer(shippedModel);
afterAll(() => model.close());

it('counts the bytes of a choice, whatever parts of characters its tokens are', async () => {
  // A blank and four bytes, and a blank and five.
  const choices = ['\u{1f9ff}', 'words'];
  const task: Task = {
    form: 'choice',
    prompt: 'a',
    choices,
    answer: 1,
    by: 'likelihood',
    id: 'a',
    place: 'a:1',
    canonical: null,
  };
  const asking = { tokenizer, chat: false, answerTokens: null, contextLength: 512 };
  const prompt = await askFor(task, asking, new AbortController().signal);
  expect(prompt.choices[0]!.length).toBeGreaterThan(2);
  // Both are equally likely.
  const session = {
    async *write([request]: readonly BatchRequest[]) {
      const length = request!.prompt.length - prompt.ids.length;
      const scores = Array.from({ length }, () => ({ logProbability: -30 / length }));
      yield { type: 'prompt', request, scores };
      yield { type: 'stop', request, reason: 'length' };
    },
  } as unknown as Session;
  const way = { name: 'full', how: { codec: tokenizer, endOfText: [] }, uses: () => false } as unknown as Way;
  const { text } = await writeAnswer(session, task, prompt, way, () => false);
  expect(text).toBe('B');
});
