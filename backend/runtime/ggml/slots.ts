/**
 * Slots in buffers of ggml's device: keys and values of every attention and the stream behind every stage, one row per position. From a
 * pass only readouts, and states on request, cross to JavaScript; so does a row that moves.
 */
import { embed } from '../embedding.ts';
import { fillMemory } from './inputs.ts';
import { readPast, readRows, readState } from './output.ts';
import { runPass } from './pass.ts';
import { copyRows, openStore, replaceStore, type GgmlModel, type StoreShelf } from './store.ts';
import { giveWay } from '../give-way.ts';
import { countChanges, fill, isReadable, newProgress, waiting } from '../progress.ts';
import { capacityFor, keyStep, trunkLength, type Place, type RowReadout, type Slots } from '../staged-model.ts';
import { enterTiles, newTiles, partsOf, truncateTiles } from './tiles.ts';
import { arrangeUnlisted, copyUnlisted, enterUnlisted, newUnlisted, truncateUnlisted } from '../readouts/unlisted.ts';

/** Tokens filled at once: bounds the memory of a graph. */
const fillLimit = 512;

export function openGgmlSlots(ggml: GgmlModel, batch: number, shelf: StoreShelf): Slots {
  const { processors, model, rotations, stages, exits, shortlists } = ggml;
  const { library } = processors[0]!;
  const { spec } = model;
  const progress = newProgress(stages, batch);
  const counted = countChanges(progress, stages, trunkLength(ggml));
  let tiles = newTiles(batch);
  let unlisted = newUnlisted(shortlists, batch);
  let store = shelf.take(batch) ?? openStore(ggml, batch, keyStep);
  let isOpen = true;
  const lastStage = exits.at(-1)!.reads;
  // A branch behind the last stage attends to every token there, so none may be left out.
  const canEndEarly = stages.every(({ parent }) => parent !== lastStage);

  /** Into a store of another size. */
  const move = (capacity: number, into: readonly (number | null)[]): void => {
    store = replaceStore(ggml, progress, store, capacity, into);
  };

  const reserve = (positions: number): void => {
    if (positions > store.capacity) move(capacityFor(positions), [...progress.entered.keys()]);
  };

  const readEnds = (k: number, ends: readonly Place[], counts: readonly number[], logits: boolean): RowReadout[] => {
    for (const [i, { row, position }] of ends.entries())
      if (exits[k]!.reads === lastStage && !isReadable(progress, row, position - counts[i]!))
        throw new RangeError(
          `Of row ${row}, ${counts[i]} tokens before place ${position} were not all run to the end.`,
        );
    const own = unlisted[k]!;
    return readRows(ggml, store, k, ends, counts, { unlisted: own && ((row) => own[row]!), withLogits: logits });
  };

  return {
    ...counted,
    progress,
    get rows() {
      return progress.entered.length;
    },
    entered: (row) => progress.entered[row]!,
    ran: (stage, row) => progress.ran[stage]![row]!,
    waiting: (stage, row) => waiting(progress, stages, stage, row),
    isReadable: (row, position) => isReadable(progress, row, position),
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
      counted.enter(row, ids);
      enterTiles(tiles, row, start, ids.length);
      enterUnlisted(unlisted, shortlists, row, start, ids);
    },
    async run(first, counts, { last = first, lastOnly = false } = {}) {
      const before = progress.ran.map((counts) => [...counts]);
      try {
        for (const part of partsOf(tiles, progress.ran[first]!, counts)) {
          // A graph is of one processor.
          for (let s = first, to = s; s <= last; s = ++to) {
            while (to < last && processors[to + 1] === processors[s]) to++;
            const through = { first: s, last: to, lastOnly: lastOnly && canEndEarly };
            runPass(ggml, store, progress, through, part);
          }
          await giveWay();
        }
      } catch (error) {
        progress.ran = before;
        throw error;
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
    async read(k, chosen, counts, { logits, ends }) {
      const ran = progress.ran[exits[k]!.reads]!;
      const places = chosen.map((row, i) => ({ row, position: ends?.[i] ?? ran[row]! }));
      return readEnds(k, places, counts, logits);
    },
    async readAt(k, places) {
      const ends = places.map(({ row, position }) => ({ row, position: position + 1 }));
      const ones = places.map(() => 1);
      return readEnds(k, ends, ones, false).flatMap(({ readouts }) => readouts);
    },
    state: (stage, row, position) => readState(ggml, store, stage, row * store.capacity + position),
    truncate(row, position) {
      counted.truncate(row, position);
      truncateTiles(tiles, row, position);
      truncateUnlisted(unlisted, row, position);
    },
    copy(from, to, positions) {
      counted.copy(from, to, positions);
      tiles[to] = tiles[from]!;
      truncateTiles(tiles, to, positions);
      copyUnlisted(unlisted, from, to, positions);
      copyRows(ggml, progress, store, store, [{ row: from, place: to, like: to }]);
    },
    arrange(into) {
      if (into.length !== progress.entered.length || into.some((row, i) => row !== i)) {
        const longest = Math.max(1, ...into.map((row) => (row === null ? 0 : progress.entered[row]!)));
        move(capacityFor(longest), into);
      }
      counted.arrange(into);
      tiles = into.map((row) => (row === null ? [] : tiles[row]!));
      unlisted = arrangeUnlisted(unlisted, into);
    },
    pastRows(slot, row) {
      const stage = stages.findIndex(({ slots }) => slots.includes(slot));
      return readPast(ggml, store, slot, row, progress.ran[stage]![row]!);
    },
    dispose() {
      if (!isOpen) return;
      isOpen = false;
      shelf.put(store);
    },
  };
}
