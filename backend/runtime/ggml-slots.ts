/**
 * Slots in buffers of ggml's device: keys and values of every attention and the stream behind every stage, one row per position. From a
 * pass only readouts, and states on request, cross to JavaScript; so does a row that moves.
 */
import { setImmediate } from 'node:timers/promises';
import type { Tensor } from '../ggml/library.ts';
import { tileStep } from '../ggml/processor.ts';
import { halfValues } from '../formats/halves.ts';
import { cutWidth } from '../model/spec.ts';
import { embed } from './embedding.ts';
import { fillMemory, fillPass } from './ggml-inputs.ts';
import { copyRows, openStore, type GgmlModel, type PassShape, type Store, type StoreShelf } from './ggml-store.ts';
import { readoutsFrom, tokensOf, vocabularyRows } from './readouts.ts';
import {
  advance,
  arrange,
  copy,
  fill,
  isFilled,
  isReadable,
  newProgress,
  repair,
  skip,
  truncate,
  waiting,
} from './progress.ts';
import { capacityFor, keyStep, trunkLength, type Readout, type RowReadout, type Slots } from './staged-model.ts';
import { enterTiles, newTiles, partsOf, tileTokens, truncateTiles, type PassPart } from './tiles.ts';

/** Tokens filled at once: bounds the memory of a graph. */
const fillLimit = 512;
/** Positions read at once: bounds the memory of logits. */
const readLimit = 32;
/**
 * A pass of fewer tokens computes all of them to the end, even if only some are read: building another graph would take longer than it
 * saves.
 */
const manyTokens = 32;

export function openGgmlSlots(ggml: GgmlModel, batch: number, shelf: StoreShelf): Slots {
  const { processors, model, rotations, stages, exits } = ggml;
  const { library } = processors[0]!;
  const { spec } = model;
  const progress = newProgress(stages, batch);
  let tiles = newTiles(batch);
  let rows = batch;
  let store = shelf.take(batch) ?? openStore(ggml, batch, keyStep);
  let isOpen = true;
  const lastStage = exits.at(-1)!.reads;
  // A branch behind the last stage attends to every token there, so none may be left out.
  const canEndEarly = stages.every(({ parent }) => parent !== lastStage);

  const reserve = (positions: number): void => {
    if (positions > store.capacity) move(capacityFor(positions), [...Array(rows).keys()]);
  };

  /** Takes what is filled of these rows into a store of another size; null: an empty row. */
  const move = (capacity: number, into: readonly (number | null)[]): void => {
    const next = openStore(ggml, into.length, capacity);
    try {
      copyRows(
        ggml,
        progress,
        store,
        next,
        into.flatMap((row, place) => (row === null ? [] : [{ row, place, like: row }])),
      );
    } catch (error) {
      next.dispose();
      throw error;
    }
    store.dispose();
    store = next;
  };

  const runPart = (s: number, to: number, { counts, isTiled }: PassPart, readsLastOnly: boolean): void => {
    const busy = counts.flatMap((count, row) => (count > 0 ? [row] : []));
    const of = (all: readonly number[]): number[] => busy.map((row) => all[row]!);
    const [starts, own, lengths] = [of(progress.filled[s]!), of(counts), of(progress.entered)];
    const last = Math.max(...starts.map((start, r) => start + own[r]!));
    const most = Math.max(...own);
    const tokens = isTiled ? Math.max(tileTokens, Math.ceil(most / tileStep) * tileStep) : most;
    const shape: PassShape = {
      tokens,
      rows: busy,
      keys: Math.min(store.capacity, Math.ceil(last / keyStep) * keyStep),
      isTiled,
      lastOnly: canEndEarly && readsLastOnly && to === lastStage && tokens >= manyTokens,
    };
    const key = `${s} ${to} ${tokens} ${busy.join()} ${shape.keys} ${isTiled} ${shape.lastOnly}`;
    if (store.source(s) !== store.stream(stages[s]!.parent)) ferry(ggml, store, s, busy, starts, own);
    const graph = store.graph(key, () => ggml.stageGraph(s, to, shape, store));
    const { capacity } = store;
    const padding = store.rows * capacity;
    const places = { ...shape, starts, counts: own, lengths, capacity, padding };
    fillPass(graph, { ...places, isFilled: (row, position) => isFilled(progress, s, row, position) }, rotations);
    processors[s]!.setTiled(isTiled);
    graph.compute();
    processors[s]!.setTiled(false);
    for (let each = s; each <= to; each++) advance(progress, stages, each, counts);
    if (shape.lastOnly) for (const row of busy) progress.unreadable[row] = progress.filled[to]![row]! - 1;
  };

  return {
    get rows() {
      return rows;
    },
    entered: (row) => progress.entered[row]!,
    filled: (stage, row) => progress.filled[stage]![row]!,
    waiting: (stage, row) => waiting(progress, stages, stage, row),
    isReadable: (row) => isReadable(progress, row),
    enter(row, ids) {
      const start = progress.entered[row]!;
      reserve(start + ids.length);
      const states = embed(
        spec,
        model.parameters,
        ids,
        Int32Array.from({ length: ids.length }, (_, i) => start + i),
      );
      const offset = (row * store.capacity + start) * spec.hidden * 4;
      library.set(store.stream(null), states, offset, states.byteLength);
      progress.entered[row] = start + ids.length;
      enterTiles(tiles, row, start, ids.length);
    },
    async run(first, counts, { last = first, lastOnly = false } = {}) {
      for (const part of partsOf(tiles, progress.filled[first]!, counts)) {
        // A graph is of one processor.
        for (let s = first; s <= last;) {
          let to = s;
          while (to < last && processors[to + 1] === processors[s]) to++;
          runPart(s, to, part, lastOnly);
          s = to + 1;
        }
        // Other work of this thread has a turn between passes.
        await setImmediate();
      }
    },
    async fill(k, places) {
      for (let from = 0; from < places.length; from += fillLimit) {
        const part = places.slice(from, from + fillLimit);
        const graph = store.graph(`fill ${k} ${part.length}`, () => ggml.memoryGraph(k, part.length, store));
        const lengths = part.map(({ row }) => progress.entered[row]!);
        fillMemory(graph, part, lengths, store.capacity, rotations);
        graph.compute();
      }
      for (const { row, position } of places) fill(progress, row, position, exits[k]!.stages);
    },
    skip: (row) => skip(progress, stages, trunkLength(ggml), row),
    filledFrom: (row) => progress.fitted[row]?.position ?? null,
    repair: (row) => repair(progress, row),
    async read(k, chosen, counts, { logits }): Promise<RowReadout[]> {
      const { reads, spec: exit } = exits[k]!;
      const at = chosen.flatMap((row, i) => {
        const filled = progress.filled[reads]![row]!;
        if (reads === lastStage && filled - counts[i]! < progress.unreadable[row]!)
          throw new RangeError(`The last ${counts[i]} of ${filled} tokens in row ${row} were not computed to the end.`);
        const end = row * store.capacity + filled;
        return Array.from({ length: counts[i]! }, (_, n) => end - counts[i]! + n);
      });
      const toToken = tokensOf(exit);
      const readouts: Readout[] = [];
      const isScreened = !logits && ggml.screens(k);
      const all = logits ? new Float32Array(at.length * spec.vocabulary) : null;
      for (let from = 0; from < at.length; from += readLimit) {
        const part = Int32Array.from(at.slice(from, from + readLimit));
        const shape = { positions: part.length, isScreened };
        const graph = store.graph(`read ${k} ${part.length} ${isScreened}`, () => ggml.readGraph(k, shape, store));
        graph.set('at', part);
        graph.compute();
        readouts.push(...readoutsFrom(graph, part.length, toToken, spec.vocabulary));
        all?.set(vocabularyRows(graph, part.length, toToken, spec.vocabulary), from * spec.vocabulary);
      }
      let taken = 0;
      return counts.map((count) => {
        const first = taken;
        taken += count;
        return {
          readouts: readouts.slice(first, taken),
          logits: all && all.subarray(first * spec.vocabulary, taken * spec.vocabulary),
        };
      });
    },
    state(stage, row, position) {
      const width = cutWidth(spec, store.cut(stage));
      const into = new Float32Array(width);
      library.get(store.stream(stage), into, (row * store.capacity + position) * width * 4, into.byteLength);
      return into;
    },
    truncate(row, position) {
      truncate(progress, row, position);
      truncateTiles(tiles, row, position);
    },
    copy(from, to, positions) {
      copy(progress, from, to, positions);
      tiles[to] = tiles[from]!;
      truncateTiles(tiles, to, positions);
      copyRows(ggml, progress, store, store, [{ row: from, place: to, like: to }]);
    },
    arrange(into) {
      if (into.length > rows || into.some((row, i) => row !== i)) {
        const longest = Math.max(1, ...into.map((row) => (row === null ? 0 : progress.entered[row]!)));
        move(capacityFor(longest), into);
      }
      arrange(progress, into);
      tiles = into.map((row) => (row === null ? [] : tiles[row]!));
      rows = into.length;
    },
    filledRows(slot, row) {
      const s = stages.findIndex(({ slots }) => slots.includes(slot));
      const { key, value, type } = store.past(slot);
      const width = spec.kvHeads * spec.headDimensions;
      const count = progress.filled[s]![row]! * width;
      const read = (tensor: Tensor): Float32Array => {
        const start = row * store.capacity * width;
        if (type === 'F32') {
          const into = new Float32Array(count);
          if (count > 0) library.get(tensor, into, start * 4, into.byteLength);
          return into;
        }
        const halves = new Uint16Array(count);
        if (count > 0) library.get(tensor, halves, start * 2, halves.byteLength);
        return Float32Array.from(halves, (half) => halfValues[half]!);
      };
      return { key: read(key), value: read(value) };
    },
    dispose() {
      if (!isOpen) return;
      isOpen = false;
      shelf.put(store);
    },
  };
}

/** Copies the states that a stage reads to its own processor. Nothing else crosses: keys, values and all other streams stay in place. */
function ferry(
  { processors, model, stages }: GgmlModel,
  store: Store,
  s: number,
  rows: readonly number[],
  starts: readonly number[],
  counts: readonly number[],
): void {
  const { library } = processors[s]!;
  const { parent } = stages[s]!;
  const width = cutWidth(model.spec, store.cut(parent));
  for (const [r, count] of counts.entries()) {
    if (count === 0) continue;
    const states = new Float32Array(count * width);
    const offset = (rows[r]! * store.capacity + starts[r]!) * width * 4;
    library.get(store.stream(parent), states, offset, states.byteLength);
    library.set(store.source(s), states, offset, states.byteLength);
  }
}
