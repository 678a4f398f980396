/**
 * Slots whose device may be lost: they remember the token ids of their rows and how far each stage has come, and compute the same again on
 * another model. Knows no device.
 */
import { ProcessorFailure } from '../ggml/processor.ts';
import { advance, arrange, copy, fill, newProgress, repair, skip, truncate, waiting } from '../runtime/progress.ts';
import { trunkLength, type Slots, type StagedModel } from '../runtime/staged-model.ts';

/** Most tokens of a pass that is made again. */
const passLimit = 512;

/** Runs something on the current model; it is called again with another model if the first was lost. */
export type Attempt = <R>(call: (model: StagedModel) => R | Promise<R>) => Promise<R>;

/** `open`: slots of a model. `model()`: the current one; `attempt` may replace it. */
export function openReplayedSlots(model: () => StagedModel, attempt: Attempt, batch: number): Slots {
  const { stages } = model();
  const progress = newProgress(stages, batch);
  const texts: number[][] = Array.from({ length: batch }, () => []);
  let holder = model();
  let current: Slots = holder.openSlots(batch);
  /** A failure outside of a pass; the next pass reports it. */
  let failure: { readonly cause: unknown } | null = null;

  /** Changes the slots, if they belong to the current model. */
  const change = (what: (slots: Slots) => void): void => {
    if (model() !== holder || failure !== null) return;
    try {
      what(current);
    } catch (cause) {
      if (!(cause instanceof ProcessorFailure)) throw cause;
      failure = { cause };
    }
  };

  /** Slots of the current model, with everything that the lost ones had. */
  const slotsOf = async (now: StagedModel): Promise<Slots> => {
    if (now === holder) {
      if (failure !== null) throw failure.cause;
      return current;
    }
    const next = now.openSlots(texts.length);
    const done = newProgress(stages, texts.length);
    for (const [row, ids] of texts.entries()) {
      if (ids.length > 0) next.enter(row, ids);
      done.entered[row] = ids.length;
    }
    for (const s of stages.keys()) {
      for (;;) {
        const left = progress.filled[s]!.map((filled, row) => Math.min(passLimit, filled - done.filled[s]![row]!));
        if (left.every((count) => count <= 0)) break;
        await next.run(s, left);
        advance(done, stages, s, left);
      }
    }
    // What memories had filled is exact now, but for tokens that some stage has still to pass.
    for (const [row, left] of progress.left.entries()) {
      for (const [position, stage] of left) {
        const k = now.exits.findIndex((exit) => exit.remembers && exit.stages === stage);
        if (k >= 0) await next.fill(k, [{ row, position }]);
        else left.delete(position);
      }
      progress.fitted[row] =
        left.size === 0 ? null : { position: Math.min(...left.keys()), stage: Math.min(...left.values()) };
    }
    // The contents of a lost device are gone with its model.
    [holder, current, failure] = [now, next, null];
    return next;
  };

  return {
    get rows() {
      return texts.length;
    },
    entered: (row) => progress.entered[row]!,
    filled: (stage, row) => progress.filled[stage]![row]!,
    waiting: (stage, row) => waiting(progress, stages, stage, row),
    isReadable: (row) => current.isReadable(row),
    enter(row, ids) {
      change((slots) => slots.enter(row, ids));
      for (let i = 0; i < ids.length; i++) texts[row]!.push(ids[i]!);
      progress.entered[row] = texts[row]!.length;
    },
    async run(first, counts, options) {
      await attempt(async (now) => (await slotsOf(now)).run(first, counts, options));
      for (let s = first; s <= (options?.last ?? first); s++) advance(progress, stages, s, counts);
    },
    async fill(k, places) {
      await attempt(async (now) => (await slotsOf(now)).fill(k, places));
      for (const { row, position } of places) fill(progress, row, position, model().exits[k]!.stages);
    },
    skip(row) {
      change((slots) => slots.skip(row));
      skip(progress, stages, trunkLength(model()), row);
    },
    filledFrom: (row) => progress.fitted[row]?.position ?? null,
    repair(row) {
      change((slots) => slots.repair(row));
      repair(progress, row);
    },
    read: (...call) => attempt(async (now) => (await slotsOf(now)).read(...call)),
    state: (...call) => current.state(...call),
    truncate(row, position) {
      change((slots) => slots.truncate(row, position));
      truncate(progress, row, position);
      texts[row]!.length = progress.entered[row]!;
    },
    copy(from, to, positions) {
      change((slots) => slots.copy(from, to, positions));
      copy(progress, from, to, positions);
      texts[to] = texts[from]!.slice(0, progress.entered[to]);
    },
    arrange(rows) {
      change((slots) => slots.arrange(rows));
      const arranged = rows.map((row) => (row === null ? [] : texts[row]!));
      texts.splice(0, texts.length, ...arranged);
      arrange(progress, rows);
    },
    filledRows: (...call) => current.filledRows(...call),
    dispose: () => current.dispose(),
  };
}
