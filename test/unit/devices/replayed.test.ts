/** Slots of a model that is lost at any step hold on another what they would have held. */
import { expect, test } from 'vitest';
import { openReplayedSlots } from '../../../backend/devices/replayed.ts';
import { noExits, openStagedModel, type ExitSet } from '../../../backend/runtime/open.ts';
import type { Slots, StagedModel } from '../../../backend/runtime/staged-model.ts';
import { copiedExits, tinyModel } from '../../support/models.ts';

const model = tinyModel();
const exits: ExitSet = {
  ...noExits,
  ...copiedExits(model, [{ layer: 2, architecture: 'norm', head: { kind: 'shared' } }]),
};
const open = (): Promise<StagedModel> => openStagedModel(model, exits);

/** What a decoding does: deferred states, drafts taken back, rows that move and end. */
const steps: readonly ((slots: Slots) => void | Promise<void>)[] = [
  (slots) => slots.enter(0, [5, 9, 2, 14]),
  (slots) => slots.enter(1, [7, 3]),
  (slots) => slots.run(0, [4, 2]),
  (slots) => slots.run(1, [3, 0]),
  (slots) => slots.truncate(0, 3),
  (slots) => slots.enter(0, [8]),
  (slots) => slots.arrange([1, 0]),
  (slots) => slots.run(0, [0, 1]),
  (slots) => slots.run(1, [2, 1]),
  (slots) => slots.copy(1, 0, 2),
  (slots) => slots.enter(0, [11]),
  (slots) => slots.run(0, [1, 0]),
  (slots) => slots.run(1, [1, 0]),
  (slots) => slots.arrange([0]),
];

async function textAfterLossBefore(lost: number | null): Promise<unknown> {
  const [first, second] = [await open(), await open()];
  let now = first;
  const slots = openReplayedSlots(
    () => now,
    async (call) => call(now),
    2,
  );
  for (const [i, step] of steps.entries()) {
    if (i === lost) now = second;
    await step(slots);
  }
  const [said] = await slots.read(1, [0], [1], { logits: true });
  const answer = { logits: [...said!.logits!], entered: slots.entered(0), filled: slots.filled(1, 0) };
  slots.dispose();
  await first.dispose();
  await second.dispose();
  return answer;
}

test('a model that is lost before any step', async () => {
  const expected = await textAfterLossBefore(null);
  expect(expected).toMatchObject({ entered: 3, filled: 3 });
  for (const lost of steps.keys()) expect(await textAfterLossBefore(lost), `before step ${lost}`).toEqual(expected);
}, 60_000);
