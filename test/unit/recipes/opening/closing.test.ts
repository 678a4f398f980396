/** What a recipe has opened is closed whole. */
import { expect, test } from 'vitest';
import { closeAll } from '../../../../backend/recipes/opening/closing.ts';

test('everything is closed, the last first, also behind one that fails', async () => {
  const closed: string[] = [];
  const closing = [
    () => void closed.push('model'),
    () => Promise.reject(new Error('the backbone never opened')),
    () => void closed.push('cache'),
  ];
  await expect(closeAll(closing)).rejects.toThrow('the backbone never opened');
  expect(closed).toEqual(['cache', 'model']);
  // Nothing is closed twice.
  await closeAll(closing);
  expect(closed).toHaveLength(2);
});
