/** Alone in its file: it takes the path away, which others need. */
import { expect, it, vi } from 'vitest';
import { openSandbox } from '../../../../backend/evaluation/tasks/sandbox.ts';

it('tasks whose tests are Python are refused without one, before anything is written', async () => {
  vi.stubEnv('PATH', '/no-such-folder');
  await expect(openSandbox(new Set(['python']))).rejects.toThrow(/Python, and there is no python3 \(3\.8 or newer\)/);
  // Tests of JavaScript need none.
  (await openSandbox(new Set(['javascript']))).dispose();
});
