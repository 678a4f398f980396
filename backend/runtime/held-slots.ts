/**
 * Slots in JavaScript's memory, over a model whose calls are complete in themselves: keys and values are time-major, and the
 * stream behind every stage has a row a position. Knows no graph and no device.
 */
import { cutWidth } from '../model/spec.ts';
import type { NewRows, Pass, PassModel, PastRows } from './pass-model.ts';
import { advance, arrange, copy, newProgress, truncate, waiting } from './progress.ts';
import type { RowReadout, Slots, StagedModel } from './staged-model.ts';

/** In a batch, capacity grows by this many positions, since a batch's rows end with as much padding. */
const capacityStep = 64;

/** What the attentions of one stage keep: `[rows, capacity, width]` each. */
interface Store {
  readonly slots: readonly string[];
  capacity: number;
  readonly keys: Map<string, Float32Array>;
  readonly values: Map<string, Float32Array>;
}

/** The stream of one row `[positions, width]`, with room behind. */
interface Stream {
  readonly width: number;
  buffer: Float32Array;
}

/** The model with slots of its own. */
export const withHeldSlots = (model: PassModel): StagedModel => ({
  spec: model.spec,
  stages: model.stages,
  exits: model.exits,
  openSlots: (rows) => openHeldSlots(model, rows),
  dispose: () => model.dispose(),
});

function openHeldSlots(model: PassModel, batch: number): Slots {
  const { spec, stages, exits } = model;
  const width = spec.kvHeads * spec.headDimensions;
  const progress = newProgress(stages, batch);
  let rows = batch;
  const stores = stages.map(({ slots }): Store => ({
    slots,
    capacity: 0,
    keys: new Map(slots.map((slot) => [slot, new Float32Array(0)])),
    values: new Map(slots.map((slot) => [slot, new Float32Array(0)])),
  }));
  const newStreams = (streamWidth: number): Stream[] =>
    Array.from({ length: batch }, () => ({ width: streamWidth, buffer: new Float32Array(0) }));
  let embedded = newStreams(spec.hidden);
  let streams = stages.map(({ to }) => newStreams(cutWidth(spec, to)));

  /** Moves the filled positions of `kept` rows into arrays of another capacity. */
  const relayout = (s: number, capacity: number, kept: readonly number[]): void => {
    const of = stores[s]!;
    for (const arrays of [of.keys, of.values]) {
      for (const [slot, old] of arrays) {
        const next = new Float32Array(kept.length * capacity * width);
        for (const [to, r] of kept.entries()) {
          const from = r * of.capacity * width;
          next.set(old.subarray(from, from + progress.filled[s]![r]! * width), to * capacity * width);
        }
        arrays.set(slot, next);
      }
    }
    of.capacity = capacity;
  };

  /** What a pass sees, with room for its new tokens. */
  const past = (s: number, { batch: busy, tokens, starts }: Pass): Map<string, PastRows> => {
    const of = stores[s]!;
    const positions = Math.max(...starts) + tokens;
    if (positions > of.capacity) {
      const grown =
        rows === 1 ? Math.max(positions, 2 * of.capacity, 256) : Math.ceil(positions / capacityStep) * capacityStep;
      relayout(s, grown, [...Array(rows).keys()]);
    }
    const capacity = busy === 1 ? positions : of.capacity;
    const length = busy * capacity * width;
    return new Map(
      of.slots.map((slot) => [
        slot,
        { capacity, key: of.keys.get(slot)!.subarray(0, length), value: of.values.get(slot)!.subarray(0, length) },
      ]),
    );
  };

  /** The waiting states of a pass, padded: `[batch, tokens, width]`. */
  const hiddenOf = (s: number, { batch: busy, counts, tokens, starts }: Pass): Float32Array => {
    const { parent } = stages[s]!;
    const from = parent === null ? embedded : streams[parent]!;
    if (busy === 1) return states(from[0]!, starts[0]!, tokens);
    const streamWidth = from[0]!.width;
    const hidden = new Float32Array(busy * tokens * streamWidth);
    for (const [r, count] of counts.entries())
      hidden.set(states(from[r]!, starts[r]!, count), r * tokens * streamWidth);
    return hidden;
  };

  const store = (
    s: number,
    { batch: busy, tokens, counts, starts }: Pass,
    fresh: ReadonlyMap<string, NewRows>,
  ): void => {
    const of = stores[s]!;
    for (const slot of of.slots) {
      const { key, value } = fresh.get(slot)!;
      for (let r = 0; r < busy; r++) {
        const from = r * tokens * width;
        const to = from + counts[r]! * width;
        const at = (r * of.capacity + starts[r]!) * width;
        of.keys.get(slot)!.set(key.subarray(from, to), at);
        of.values.get(slot)!.set(value.subarray(from, to), at);
      }
    }
  };

  const runStage = async (s: number, all: readonly number[]): Promise<void> => {
    const tokens = Math.max(...all);
    if (tokens <= 0) return;
    // Rows behind the last that has anything to do stay out of it.
    const busy = all.findLastIndex((count) => count > 0) + 1;
    const counts = all.slice(0, busy);
    const starts = progress.filled[s]!.slice(0, busy);
    const pass = { batch: busy, tokens, counts, starts, lengths: progress.entered.slice(0, busy) };
    const { hidden, rows: fresh } = await model.runStage(s, hiddenOf(s, pass), pass, past(s, pass));
    store(s, pass, fresh);
    for (const [r, count] of counts.entries()) {
      const stream = streams[s]![r]!;
      const from = r * tokens * stream.width;
      put(stream, starts[r]!, hidden.subarray(from, from + count * stream.width));
    }
    advance(progress, stages, s, counts);
  };

  return {
    get rows() {
      return rows;
    },
    entered: (row) => progress.entered[row]!,
    filled: (stage, row) => progress.filled[stage]![row]!,
    waiting: (stage, row) => waiting(progress, stages, stage, row),
    isHeard: () => true,
    enter(row, ids) {
      const start = progress.entered[row]!;
      const positions = Int32Array.from({ length: ids.length }, (_, i) => start + i);
      put(embedded[row]!, start, model.embed(ids, positions));
      progress.entered[row] = start + ids.length;
    },
    async run(first, all, { last = first } = {}) {
      for (let s = first; s <= last; s++) await runStage(s, all);
    },
    async read(k, chosen, counts, options): Promise<RowReadout[]> {
      const { reads } = exits[k]!;
      const streamWidth = streams[reads]![0]!.width;
      // Tokens are independent here: each is a row of its own, and nothing is padded.
      const total = counts.reduce((a, b) => a + b, 0);
      const hidden = new Float32Array(total * streamWidth);
      let at = 0;
      for (const [i, row] of chosen.entries()) {
        const end = progress.filled[reads]![row]!;
        hidden.set(states(streams[reads]![row]!, end - counts[i]!, counts[i]!), at * streamWidth);
        at += counts[i]!;
      }
      const { readouts, logits } = await model.readExit(k, hidden, total, options);
      at = 0;
      return counts.map((count) => {
        const first = at;
        at += count;
        return {
          readouts: readouts.slice(first, at),
          logits: logits && logits.subarray(first * spec.vocabulary, at * spec.vocabulary),
        };
      });
    },
    state: (stage, row, position) => states(streams[stage]![row]!, position, 1),
    truncate: (row, position) => truncate(progress, row, position),
    copy(from, to, positions) {
      copy(progress, from, to, positions);
      for (const [s, { keys, values, capacity }] of stores.entries()) {
        const length = progress.filled[s]![to]! * width;
        const start = from * capacity * width;
        for (const array of [...keys.values(), ...values.values()])
          array.copyWithin(to * capacity * width, start, start + length);
      }
      put(embedded[to]!, 0, states(embedded[from]!, 0, progress.entered[to]!));
      for (const [s, of] of streams.entries()) put(of[to]!, 0, states(of[from]!, 0, progress.filled[s]![to]!));
    },
    arrange(into) {
      if (into.length === rows && into.every((row, i) => row === i)) return;
      const kept = into.map((row) => row ?? 0);
      for (const [s, of] of stores.entries()) {
        const filled = into.map((row) => (row === null ? 0 : progress.filled[s]![row]!));
        const capacity =
          kept.length === 1 ? of.capacity : Math.ceil(Math.max(0, ...filled) / capacityStep) * capacityStep;
        if (of.slots.length) relayout(s, capacity, kept);
      }
      const arranged = (of: readonly Stream[]): Stream[] =>
        into.map((row) => (row === null ? { ...of[0]!, buffer: new Float32Array(0) } : of[row]!));
      embedded = arranged(embedded);
      streams = streams.map(arranged);
      arrange(progress, into);
      rows = into.length;
    },
    filledRows(slot, row) {
      const s = stores.findIndex(({ slots }) => slots.includes(slot));
      const of = stores[s]!;
      const from = row * of.capacity * width;
      const to = from + progress.filled[s]![row]! * width;
      return { key: of.keys.get(slot)!.slice(from, to), value: of.values.get(slot)!.slice(from, to) };
    },
    dispose: () => undefined,
  };
}

/** The states of `count` positions; valid until the stream changes. */
const states = ({ width, buffer }: Stream, position: number, count: number): Float32Array =>
  buffer.subarray(position * width, (position + count) * width);

/** Writes states from `position` on. */
function put(stream: Stream, position: number, values: Float32Array): void {
  const used = position * stream.width;
  const needed = used + values.length;
  if (stream.buffer.length < needed) {
    const grown = new Float32Array(Math.max(needed, 2 * stream.buffer.length));
    grown.set(stream.buffer.subarray(0, used));
    stream.buffer = grown;
  }
  stream.buffer.set(values, used);
}
