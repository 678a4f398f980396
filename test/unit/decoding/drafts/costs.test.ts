/** Costs of stages and readings: of two measurements each is taken from where it was smaller, and each closes what it opens. */
import { expect, test } from 'vitest';
import { measureCosts, quieter, type MeasuredCosts } from '../../../../backend/decoding/drafts/costs.ts';
import type { StagedModel } from '../../../../backend/runtime/staged-model.ts';
import { copiedExits } from '../../../support/models.ts';
import { openTiny } from '../../../support/staged.ts';

const { staged } = await openTiny((model) =>
  copiedExits(model, [{ layer: 2, architecture: 'norm', head: { kind: 'shared' } }]),
);

test('what held one measurement up is no cost', () => {
  const quiet: MeasuredCosts = {
    stages: [5, 3],
    deferred: [4, 2],
    ofPrompt: 2,
    readings: [0.5, 2],
    fills: [0.1, null],
  };
  const stalled: MeasuredCosts = { ...quiet, stages: [11, 3], readings: [4, 1.9], fills: [0.3, null] };
  const expected = { ...quiet, readings: [0.5, 1.9] };
  expect(quieter(quiet, stalled)).toEqual(expected);
  expect(quieter(stalled, quiet)).toEqual(expected);
});

const given = { text: [7, 99, 23, 4, 7, 99, 23, 4], rounds: 2 };

/** The same model, which counts its open slots, and whose passes fail from one on. */
function watched(failsAt = Infinity): { readonly model: StagedModel; readonly open: () => number } {
  let [open, passes] = [0, 0];
  const openSlots: StagedModel['openSlots'] = (rows) => {
    const slots = staged.openSlots(rows);
    open++;
    return {
      ...slots,
      run: (...call) => (++passes >= failsAt ? Promise.reject(new Error('device lost')) : slots.run(...call)),
      dispose() {
        open--;
        slots.dispose();
      },
    };
  };
  return { model: { ...staged, openSlots }, open: () => open };
}

test('a measurement closes its slots, also if it is stopped or a pass fails', async () => {
  const whole = watched();
  let done = 0;
  for await (const round of measureCosts(whole.model, given)) done = round.done;
  expect([done, whole.open()]).toEqual([5, 0]);

  const stopped = watched();
  for await (const round of measureCosts(stopped.model, given)) if (round.done === 1) break;
  expect(stopped.open()).toBe(0);

  for (const failsAt of [1, 4]) {
    const failing = watched(failsAt);
    await expect(measureCosts(failing.model, given).next()).rejects.toThrow('device lost');
    expect(failing.open()).toBe(0);
  }
});
