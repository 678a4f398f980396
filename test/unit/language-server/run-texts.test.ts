/** What an editor shows of a job on its way. */
import { expect, it } from 'vitest';
import { progressOf } from '../../../backend/language-server/run-texts.ts';
import type { Phase } from '../../../protocol/events.ts';

const phase = (name: Phase, detail: string): string => progressOf({ type: 'phase', phase: name, detail }).message;

it('says what is done with what, and a model by its name', () => {
  expect(phase('features', 'how fast the model is here')).toBe('Running the backbone: how fast the model is here');
  expect(phase('evaluate', 'exits before tuning')).toBe('Evaluating: exits before tuning');
  expect(phase('load', '/home/user/models/qwen.gguf')).toBe('Loading: qwen.gguf');
  expect(phase('load', 'owner/name@main:q8.gguf')).toBe('Loading: q8.gguf');
  expect(phase('load', '')).toBe('Loading');
  expect(progressOf({ type: 'progress', phase: 'fit', done: 3, total: 40, unit: 'windows' })).toEqual({
    message: 'Fitting: 3 of 40 windows',
    share: 3 / 40,
  });
});
