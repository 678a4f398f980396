/** Work beside a batch: for how long, on whose, and what becomes of what fails. */
import { expect, test } from 'vitest';
import type { Steps } from '../../../../backend/data/steps.ts';
import { openDesk, type Task } from '../../../../backend/recipes/serving/desk.ts';

const spend = (milliseconds: number): void => {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
};

function taskOf(client: string, steps: number, done: string[], name = client): Task {
  function* work(): Steps<void> {
    for (let i = 0; i < steps; i++) {
      spend(1);
      yield;
    }
    done.push(name);
  }
  return { client, steps: work(), refuse: (error) => done.push(`${name}: ${String(error)}`) };
}

test('clients take turns, so that what is short does not wait for what is long', () => {
  const desk = openDesk();
  const done: string[] = [];
  desk.add(taskOf('long', 400, done));
  desk.add(taskOf('long', 1, done, 'after long'));
  for (const client of ['a', 'b']) desk.add(taskOf(client, 2, done));
  for (let i = 0; i < 6; i++) desk.work(10);
  expect(done).toEqual(['a', 'b']);
  expect(desk.waiting).toBe(2);
  while (desk.waiting > 0) desk.work(50);
  expect(done).toEqual(['a', 'b', 'long', 'after long']);
});

test('one that fails is refused, one that has gone is not worked on, and the others go on', () => {
  const desk = openDesk();
  const done: string[] = [];
  const gone = taskOf('gone', 1, done);
  const failing: Task = {
    ...taskOf('failing', 0, done),
    steps: (function* (): Steps<void> {
      throw new RangeError('made up');
    })(),
  };
  for (const task of [failing, gone, taskOf('a', 1, done)]) desk.add(task);
  desk.remove(gone);
  desk.work(1000);
  expect(done).toEqual(['failing: RangeError: made up', 'a']);
  expect(desk.waiting).toBe(0);
});
