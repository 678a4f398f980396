/** Slots of a model that is lost at any time have on another what they would have had. */
import { afterAll, expect, test } from 'vitest';
import { openReplacedSlots, type Attempt } from '../../../backend/devices/replaced-slots.ts';
import { openLibrary } from '../../../backend/ggml/library.ts';
import { libraryFolder } from '../../../backend/ggml/packages.ts';
import { ProcessorFailure } from '../../../backend/ggml/processor.ts';
import { noExits, openStagedModel, type ExitSet } from '../../../backend/runtime/open.ts';
import type { Slots, StagedModel } from '../../../backend/runtime/staged-model.ts';
import { copiedExits, tinyModel } from '../../support/models.ts';

const model = tinyModel();
const exits: ExitSet = {
  ...noExits,
  ...copiedExits(model, [{ layer: 2, architecture: 'norm', head: { kind: 'shared' } }]),
};
const [first, second] = [await openStagedModel(model, exits), await openStagedModel(model, exits)];
afterAll(async () => {
  await first.dispose();
  await second.dispose();
  model.close();
});

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
  // Tokens that come one by one, and many at once, are two passes; room for the latter moves the row.
  (slots) => slots.enter(0, [4]),
  (slots) =>
    slots.enter(
      0,
      Array.from({ length: 300 }, (_, i) => (i * 7) % 60),
    ),
  (slots) => slots.run(0, [300], { last: 1 }),
];

/** The end of the text if the model is lost before a step, fails at a graph, or has no room at all; and the number of graphs. */
async function textAfterLoss(at: {
  step?: number;
  graph?: number;
  isFull?: boolean;
}): Promise<{ text: unknown; graphs: number }> {
  const openSlots = (): never => {
    throw new ProcessorFailure('it has no memory');
  };
  let now: StagedModel = at.isFull ? { ...first, openSlots } : first;
  let graphs = 0;
  const library = openLibrary(libraryFolder()!);
  const before = { ...library };
  library.compute = (...call) => (graphs++ === at.graph ? -1 : before.compute(...call));
  const attempt: Attempt = async (call) => {
    try {
      return await call(now);
    } catch (error) {
      if (!(error instanceof ProcessorFailure)) throw error;
      now = second;
      return call(now);
    }
  };
  const slots = openReplacedSlots(() => now, attempt, 2);
  for (const [i, step] of steps.entries()) {
    if (i === at.step) now = second;
    await step(slots);
  }
  const [said] = await slots.read(1, [0], [1], { logits: true });
  const text = { logits: [...said!.logits!], entered: slots.entered(0), ran: slots.ran(1, 0) };
  Object.assign(library, before);
  slots.dispose();
  return { text, graphs };
}

test('a model that is lost before any step, a device that fails at any graph, and one without room', async () => {
  const { text, graphs } = await textAfterLoss({});
  expect(text).toMatchObject({ entered: 304, ran: 303 });
  for (const step of steps.keys()) expect((await textAfterLoss({ step })).text, `before step ${step}`).toEqual(text);
  expect(graphs).toBeGreaterThan(steps.length / 2);
  for (let graph = 0; graph < graphs; graph++)
    expect((await textAfterLoss({ graph })).text, `graph ${graph}`).toEqual(text);
  expect((await textAfterLoss({ isFull: true })).text).toEqual(text);
}, 60_000);
