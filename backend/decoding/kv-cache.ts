/**
 * Keys and values of a batch of sequences, stage by stage, with the tokens that have not entered a stage yet.
 *
 * The one invariant, for every row and stage: `filled + pending = what the stage before has processed`. A token that left
 * at layer i has no keys above i; its state waits in the queue of the next stage and enters it together with the next
 * token that goes deeper. Nothing is computed twice and nothing is approximated.
 */
import type { NewRows, Pass, PastRows, Readout, StagedModel } from '../runtime/staged-model.ts';
import { append, back, dropFront, emptyQueue, front, truncateQueue, type Queue } from './queue.ts';

/** Most tokens in one pass: bounds the memory of a long prompt. */
const passLimit = 512;
/** Final states kept for readouts of several tokens at once. */
const keptStates = 64;
/** In a batch, capacity grows by this many positions, since a batch's rows end with as much padding. */
const capacityStep = 64;

export interface KvCache {
  readonly rows: number;
  /** Tokens of a row that have entered the model. */
  position(row: number): number;
  /** Queues new tokens of a row for the first stage. */
  enter(row: number, ids: ArrayLike<number>): void;
  /** Runs the stages up to `stages` for everything that waits in these rows. */
  advance(stages: number, rows: readonly number[]): Promise<void>;
  /** What exit k says of the last `counts[i]` tokens of row `rows[i]`, which must have been advanced to it. */
  read(
    k: number,
    rows: readonly number[],
    counts: readonly number[],
    options: { logits: boolean },
  ): Promise<RowReadout[]>;
  /** State of the token `back` places from the end of a row, at the cut of exit k; valid until the cache changes. */
  state(k: number, row: number, back: number): Float32Array;
  /** Forgets every token of a row from `position` on. */
  truncate(row: number, position: number): void;
  /** Keeps only these rows, in this order. */
  keep(rows: readonly number[]): void;
  /** Keys and values of a slot and row that are filled: `[filled, width]` each. For tests and measurements. */
  filledRows(slot: string, row: number): { key: Float32Array; value: Float32Array };
}

export interface RowReadout {
  /** One a token. */
  readonly readouts: readonly Readout[];
  /** `[tokens, vocabulary]`, where asked for. */
  readonly logits: Float32Array | null;
}

/** What one stage, or one exit with an attention of its own, keeps. */
interface Store {
  readonly slots: readonly string[];
  capacity: number;
  readonly keys: Map<string, Float32Array>;
  readonly values: Map<string, Float32Array>;
  /** Per row. */
  filled: number[];
  queues: Queue[];
}

/** Told of each pass: stage (−1 − k for a reading of exit k), tokens in it, milliseconds. */
export type OnPass = (stage: number, tokens: number, milliseconds: number) => void;

export function openKvCache(model: StagedModel, batch: number, onPass: OnPass = () => undefined): KvCache {
  const { spec, stages, exits } = model;
  const width = spec.kvHeads * spec.headDimensions;
  let rows = batch;
  const store = (slots: readonly string[], stateWidth: number): Store => ({
    slots,
    capacity: 0,
    keys: new Map(slots.map((slot) => [slot, new Float32Array(0)])),
    values: new Map(slots.map((slot) => [slot, new Float32Array(0)])),
    filled: Array.from({ length: batch }, () => 0),
    queues: Array.from({ length: batch }, () => emptyQueue(stateWidth)),
  });
  const widthAt = (stage: number): number => stages[stage]?.width ?? spec.hidden;
  const stageStores = stages.map(({ slots }, s) => store(slots, widthAt(s)));
  /** States after the last stage; only the newest are kept. */
  const last = store([], spec.hidden);
  const exitStores = exits.map(({ slots, stages: s }) => (slots.length ? store(slots, widthAt(s)) : null));
  const stores = [...stageStores, last, ...exitStores.filter((s) => s !== null)];
  const queueAfter = (s: number): Queue[] => (stageStores[s] ?? last).queues;

  /** One pass of a stage or exit: up to `tokens` waiting tokens of every row. */
  const nextPass = (of: Store, tokens: number): { pass: Pass; hidden: Float32Array } => {
    const counts = of.queues.map((queue) => Math.min(queue.count, tokens));
    const pass = { batch: rows, tokens, counts, starts: [...of.filled] };
    if (rows === 1) return { pass, hidden: front(of.queues[0]!, tokens) };
    const stateWidth = of.queues[0]!.width;
    const hidden = new Float32Array(rows * tokens * stateWidth);
    for (const [r, queue] of of.queues.entries()) hidden.set(front(queue, counts[r]!), r * tokens * stateWidth);
    return { pass, hidden };
  };

  /** What a pass sees, with room for its new tokens. */
  const past = (of: Store, { tokens }: Pass): Map<string, PastRows> => {
    reserve(of, Math.max(...of.filled) + tokens);
    const capacity = rows === 1 ? of.filled[0]! + tokens : of.capacity;
    const length = rows * capacity * width;
    return new Map(
      of.slots.map((slot) => [
        slot,
        { capacity, key: of.keys.get(slot)!.subarray(0, length), value: of.values.get(slot)!.subarray(0, length) },
      ]),
    );
  };

  const commit = (of: Store, pass: Pass, fresh: ReadonlyMap<string, NewRows>): void => {
    for (const slot of of.slots) {
      const { key, value } = fresh.get(slot)!;
      for (let r = 0; r < rows; r++) {
        const from = r * pass.tokens * width;
        const to = from + pass.counts[r]! * width;
        const at = (r * of.capacity + of.filled[r]!) * width;
        of.keys.get(slot)!.set(key.subarray(from, to), at);
        of.values.get(slot)!.set(value.subarray(from, to), at);
      }
    }
    for (let r = 0; r < rows; r++) {
      of.filled[r]! += pass.counts[r]!;
      dropFront(of.queues[r]!, pass.counts[r]!);
    }
  };

  const reserve = (of: Store, positions: number): void => {
    if (positions <= of.capacity) return;
    const grown =
      rows === 1 ? Math.max(positions, 2 * of.capacity, 256) : Math.ceil(positions / capacityStep) * capacityStep;
    relayout(of, grown, [...Array(rows).keys()]);
  };

  /** Moves the filled positions of `kept` rows into arrays of another capacity. */
  const relayout = (of: Store, capacity: number, kept: readonly number[]): void => {
    for (const arrays of [of.keys, of.values]) {
      for (const [slot, old] of arrays) {
        const next = new Float32Array(kept.length * capacity * width);
        for (const [to, r] of kept.entries()) {
          const from = r * of.capacity * width;
          next.set(old.subarray(from, from + of.filled[r]! * width), to * capacity * width);
        }
        arrays.set(slot, next);
      }
    }
    of.capacity = capacity;
  };

  const runStage = async (s: number, chosen: readonly number[]): Promise<void> => {
    const of = stageStores[s]!;
    for (;;) {
      const waiting = Math.max(...chosen.map((row) => of.queues[row]!.count));
      if (waiting <= 0) return;
      const { pass, hidden } = nextPass(of, Math.min(waiting, passLimit));
      const started = performance.now();
      const result = await model.runStage(s, hidden, pass, past(of, pass));
      onPass(s, pass.batch * pass.tokens, performance.now() - started);
      commit(of, pass, result.rows);
      const isLast = s === stages.length - 1;
      for (let r = 0; r < rows; r++) {
        const next = queueAfter(s + 1)[r]!;
        const from = r * pass.tokens * next.width;
        const states = result.hidden.subarray(from, from + pass.counts[r]! * next.width);
        if (isLast && next.count > 2 * keptStates) dropFront(next, next.count - keptStates);
        append(next, states);
        for (const [k, { stages: after }] of exits.entries()) {
          if (after === s + 1 && exitStores[k]) append(exitStores[k].queues[r]!, states);
        }
      }
    }
  };

  const position = (row: number): number => stageStores[0]!.filled[row]! + stageStores[0]!.queues[row]!.count;

  return {
    get rows() {
      return rows;
    },
    position,
    enter(row, ids) {
      const start = position(row);
      append(
        stageStores[0]!.queues[row]!,
        model.embed(
          ids,
          Int32Array.from({ length: ids.length }, (_, i) => start + i),
        ),
      );
    },
    async advance(upTo, chosen) {
      for (let s = 0; s < upTo; s++) await runStage(s, chosen);
    },
    async read(k, chosen, counts, options) {
      const own = exitStores[k];
      if (own) return readOwn(k, own, chosen, counts, options);
      const queues = queueAfter(exits[k]!.stages);
      const stateWidth = queues[0]!.width;
      // Tokens are independent here: each is a row of its own, and nothing is padded.
      const total = counts.reduce((a, b) => a + b, 0);
      const hidden = new Float32Array(total * stateWidth);
      let at = 0;
      for (const [i, row] of chosen.entries()) {
        hidden.set(back(queues[row]!, counts[i]!), at * stateWidth);
        at += counts[i]!;
      }
      const ones = Array.from({ length: total }, () => 1);
      const pass = { batch: total, tokens: 1, counts: ones, starts: ones.map(() => 0) };
      const started = performance.now();
      const { readouts, logits } = await model.readExit(k, hidden, pass, new Map(), options);
      onPass(-1 - k, total, performance.now() - started);
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
    state(k, row, fromEnd) {
      const queue = queueAfter(exits[k]!.stages)[row]!;
      return back(queue, fromEnd + 1).subarray(0, queue.width);
    },
    truncate(row, position) {
      for (const of of stores) {
        of.filled[row] = Math.min(of.filled[row]!, position);
        truncateQueue(of.queues[row]!, position);
      }
    },
    keep(kept) {
      if (kept.length === rows && kept.every((row, i) => row === i)) return;
      for (const of of stores) {
        const filled = kept.map((row) => of.filled[row]!);
        const capacity =
          kept.length === 1 ? of.capacity : Math.ceil(Math.max(0, ...filled) / capacityStep) * capacityStep;
        if (of.slots.length) relayout(of, capacity, kept);
        of.filled = filled;
        of.queues = kept.map((row) => of.queues[row]!);
      }
      rows = kept.length;
    },
    filledRows(slot, row) {
      const of = stores.find(({ slots }) => slots.includes(slot))!;
      const from = row * of.capacity * width;
      const to = from + of.filled[row]! * width;
      return { key: of.keys.get(slot)!.slice(from, to), value: of.values.get(slot)!.slice(from, to) };
    },
  };

  /** An exit with an attention of its own takes in everything that waits at its cut, and is read at the end of it. */
  async function readOwn(
    k: number,
    own: Store,
    chosen: readonly number[],
    counts: readonly number[],
    options: { logits: boolean },
  ): Promise<RowReadout[]> {
    const results: Readout[][] = Array.from({ length: rows }, () => []);
    const logitRows: Float32Array[][] = Array.from({ length: rows }, () => []);
    const wanted = new Map(chosen.map((row, i) => [row, counts[i]!]));
    for (;;) {
      const waiting = Math.max(...chosen.map((row) => own.queues[row]!.count));
      if (waiting <= 0) break;
      const { pass, hidden } = nextPass(own, Math.min(waiting, passLimit));
      const result = await model.readExit(k, hidden, pass, past(own, pass), options);
      for (let r = 0; r < rows; r++) {
        for (let t = 0; t < pass.counts[r]!; t++) {
          const at = r * pass.tokens + t;
          results[r]!.push(result.readouts[at]!);
          if (result.logits) logitRows[r]!.push(result.logits.slice(at * spec.vocabulary, (at + 1) * spec.vocabulary));
          if (results[r]!.length > (wanted.get(r) ?? 0)) {
            results[r]!.shift();
            logitRows[r]!.shift();
          }
        }
      }
      commit(own, pass, result.rows);
    }
    return chosen.map((row) => ({
      readouts: results[row]!,
      logits: options.logits ? concatenate(logitRows[row]!) : null,
    }));
  }
}

function concatenate(arrays: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(arrays.reduce((sum, a) => sum + a.length, 0));
  let at = 0;
  for (const array of arrays) {
    all.set(array, at);
    at += array.length;
  }
  return all;
}
