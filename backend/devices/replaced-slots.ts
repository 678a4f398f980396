/**
 * Slots whose device may be lost: slots of another model take their place, and compute again what the lost ones had. How far that was, the
 * lost ones still know. Knows no device.
 */
import { ProcessorFailure } from '../ggml/processor.ts';
import { countChanges, isReadable, newProgress, waiting, type Progress, type RowChanges } from '../runtime/progress.ts';
import { trunkLength, type Slots, type StagedModel } from '../runtime/staged-model.ts';

/** Most tokens of a pass that is made again. */
const passLimit = 512;

/** Runs something on the current model; it is called again with another model if the first was lost. */
export type Attempt = <R>(call: (model: StagedModel) => R | Promise<R>) => Promise<R>;

/** `model()`: the current one; `attempt` may replace it. */
export function openReplacedSlots(model: () => StagedModel, attempt: Attempt, batch: number): Slots {
  let holder = model();
  /** Null if its device had no room: until the next pass, rows are only counted. */
  let current: Slots | null = null;
  /** A failure outside of a pass; the next pass reports it. */
  let failure: ProcessorFailure | null = null;
  try {
    current = holder.openSlots(batch);
  } catch (cause) {
    if (!(cause instanceof ProcessorFailure)) throw cause;
    failure = cause;
  }
  const counted = newProgress(holder.stages, batch);
  const progress = (): Progress => current?.progress ?? counted;

  /** Changes rows. If their contents are lost, they are only counted until the next pass. */
  const change = (what: (rows: RowChanges) => void): void => {
    if (model() === holder && failure === null) {
      try {
        return what(current!);
      } catch (cause) {
        if (!(cause instanceof ProcessorFailure)) throw cause;
        failure = cause;
      }
    }
    what(countChanges(progress(), holder.stages, trunkLength(holder)));
  };

  const run = <R>(call: (slots: Slots) => R | Promise<R>): Promise<R> =>
    attempt(async (now) => {
      if (now !== holder) {
        const next = now.openSlots(progress().entered.length);
        try {
          await computeAgain(now, next, progress());
        } catch (cause) {
          next.dispose();
          throw cause;
        }
        // The contents of a lost device are gone with its model.
        [holder, current, failure] = [now, next, null];
      }
      if (failure !== null) throw failure;
      return call(current!);
    });

  return {
    get progress() {
      return progress();
    },
    get rows() {
      return progress().entered.length;
    },
    entered: (row) => progress().entered[row]!,
    ran: (stage, row) => progress().ran[stage]![row]!,
    waiting: (stage, row) => waiting(progress(), holder.stages, stage, row),
    isReadable: (row, position) => isReadable(progress(), row, position),
    enter: (row, ids) => change((rows) => rows.enter(row, ids)),
    skip: (row) => change((rows) => rows.skip(row)),
    repair: (row) => change((rows) => rows.repair(row)),
    truncate: (row, position) => change((rows) => rows.truncate(row, position)),
    copy: (from, to, positions) => change((rows) => rows.copy(from, to, positions)),
    arrange: (into) => change((rows) => rows.arrange(into)),
    run: (...call) => run((slots) => slots.run(...call)),
    fill: (...call) => run((slots) => slots.fill(...call)),
    read: (...call) => run((slots) => slots.read(...call)),
    readAt: (...call) => run((slots) => slots.readAt(...call)),
    state: (...call) => current!.state(...call),
    pastRows: (...call) => current!.pastRows(...call),
    dispose: () => current?.dispose(),
  };
}

/** Enters the tokens of lost slots into fresh ones and runs them, until each stage has run as many as it had before. */
async function computeAgain({ exits }: StagedModel, slots: Slots, { texts, ran, remembered }: Progress): Promise<void> {
  for (const [row, parts] of texts.entries()) for (const ids of parts) slots.enter(row, ids);
  for (const [stage, until] of ran.entries())
    for (;;) {
      const counts = until.map((count, row) => Math.min(passLimit, count - slots.ran(stage, row)));
      if (counts.every((count) => count === 0)) break;
      await slots.run(stage, counts);
    }
  // Entries that memories had filled are exact now, since each stage ran its tokens itself. Tokens that left at an exit and still wait for a
  // stage behind it are filled again.
  for (const [row, tokens] of remembered.entries())
    for (const [position, stage] of tokens) {
      const k = exits.findIndex((exit) => exit.remembers && exit.stages === stage);
      await slots.fill(k, [{ row, position }]);
    }
}
