/** What crosses from ggml's buffers to JavaScript: readouts of exits, states, and keys and values. */
import { halfValues } from '../../formats/halves.ts';
import type { BuiltGraph } from '../../ggml/graph.ts';
import type { Tensor } from '../../ggml/library.ts';
import { cutWidth } from '../../model/spec.ts';
import { headRowLimit, type HeadRows } from '../readouts/head-rows.ts';
import type { GgmlModel, ReadShape, Store } from './store.ts';
import {
  defer,
  joined,
  positionsOf,
  readoutOf,
  unread,
  vocabularyRows,
  type Position,
  type ReadUnlisted,
  type Scored,
} from '../readouts/readouts.ts';
import type { Place, Readout, RowReadout } from '../staged-model.ts';
import { countUntil, mostUnlisted, sizeFor, type Unlisted } from '../readouts/unlisted.ts';

/** Positions read at once: bounds the memory of logits. */
const readLimit = 32;
/** Rows whose unlisted tokens are read at once. */
const rowLimit = headRowLimit / mostUnlisted;

/** The unlisted tokens of a row. */
type UnlistedOf = (row: number) => Unlisted;

/** Places of some rows that one graph reads: equally many of each row, one row after the other, if it reads unlisted tokens. */
interface Part {
  readonly rows: readonly number[];
  readonly places: readonly Place[];
}

/**
 * Readouts of exit k for the `counts[i]` places before each of `ends`; `unlisted`: what the exit reads beside its list, null if it
 * reads nothing else.
 */
export function readRows(
  ggml: GgmlModel,
  store: Store,
  k: number,
  ends: readonly Place[],
  counts: readonly number[],
  { unlisted, withLogits }: { readonly unlisted: UnlistedOf | null; readonly withLogits: boolean },
): RowReadout[] {
  const { vocabulary } = ggml.model.spec;
  const total = counts.reduce((sum, count) => sum + count, 0);
  const parts = partsOf(ends, counts, unlisted !== null);
  const readouts: Readout[] = [];
  // One part, as nearly always, has all rows of logits already.
  let logits: Float32Array | null = withLogits && parts.length !== 1 ? new Float32Array(total * vocabulary) : null;
  for (const part of parts) {
    const read = readPart(ggml, store, k, part, unlisted, withLogits);
    if (parts.length === 1) logits = read.logits;
    else logits?.set(read.logits!, readouts.length * vocabulary);
    readouts.push(...read.readouts);
  }
  let taken = 0;
  return counts.map((count) => {
    const [from, to] = [taken, (taken += count)];
    return {
      readouts: readouts.slice(from, to),
      logits: logits && logits.subarray(from * vocabulary, to * vocabulary),
    };
  });
}

function partsOf(ends: readonly Place[], counts: readonly number[], isEven: boolean): Part[] {
  const isLike = (part: { rows: number[]; each: number }, places: Place[]): boolean =>
    part.each === places.length && part.rows.length < rowLimit;
  const parts: { rows: number[]; places: Place[]; each: number }[] = [];
  for (const [i, { row, position }] of ends.entries()) {
    const all = Array.from({ length: counts[i]! }, (_, n): Place => ({ row, position: position - counts[i]! + n }));
    for (let from = 0; from < all.length; from += readLimit) {
      const places = all.slice(from, from + readLimit);
      const last = parts.at(-1);
      const fits = last && last.places.length + places.length <= readLimit && (!isEven || isLike(last, places));
      if (!fits) parts.push({ rows: [row], places, each: places.length });
      else {
        last.rows.push(row);
        last.places.push(...places);
      }
    }
  }
  return parts;
}

/** Readouts of exit k at the places of a part; `logits`: `[places, vocabulary]`, if requested. */
function readPart(
  ggml: GgmlModel,
  store: Store,
  k: number,
  { rows, places }: Part,
  unlisted: UnlistedOf | null,
  withLogits: boolean,
): { readonly readouts: readonly Readout[]; readonly logits: Float32Array | null } {
  const { vocabulary } = ggml.model.spec;
  const toToken = ggml.tokensOfClasses[k]!;
  const positions = places.length;
  const isScreened = !withLogits && ggml.screens(k);
  const read = unlisted && unlistedAt(unlisted, places);
  const shape: ReadShape = { positions, isScreened, unlisted: read && { rows: rows.length, tokens: read.size } };
  const key = `read ${k} ${positions} ${isScreened} ${read ? `${rows.length} ${read.size}` : ''}`;
  const graph = store.graph(key, () => ggml.readGraph(k, shape, store));
  graph.set(
    'at',
    Int32Array.from(places, ({ row, position }) => row * store.capacity + position),
  );
  if (unlisted && read) setUnlisted(graph, ggml.headRows(k), rows.map(unlisted), read);
  graph.compute();
  const found = positionsOf(graph, positions, toToken, toToken?.length ?? vocabulary, read);
  const others = read ? spellingsAt(ggml, k, graph, found, read) : found.map(() => []);
  return {
    readouts: found.map((one, p) => readoutOf(joined(one, others[p]!))),
    logits: withLogits ? vocabularyRows(graph, positions, toToken, vocabulary, read, others) : null,
  };
}

/** The other spellings of the best token of each position; none where the defer class is better. */
function spellingsAt(
  { spellings, model: { spec } }: GgmlModel,
  k: number,
  graph: BuiltGraph,
  found: readonly Position[],
  read: ReadUnlisted,
): Scored[][] {
  const reader = spellings[k];
  if (!reader) return found.map(() => []);
  const states = new Float32Array(found.length * spec.hidden);
  graph.get('state', states);
  return found.map(({ best }, p) => {
    const guess = best[0]!.id;
    const state = states.subarray(p * spec.hidden, (p + 1) * spec.hidden);
    return guess === defer ? [] : reader.read(guess, state, read.tokens[p]!);
  });
}

/** What is read at some places beside a list. */
function unlistedAt(unlisted: UnlistedOf, places: readonly Place[]): ReadUnlisted {
  const tokens = places.map(({ row, position }) => {
    const own = unlisted(row);
    return own.ids.slice(0, countUntil(own, position));
  });
  return { size: sizeFor(Math.max(...tokens.map(({ length }) => length))), tokens };
}

/** The inputs of a graph that reads the unlisted tokens of some rows. */
function setUnlisted(graph: BuiltGraph, head: HeadRows, rows: readonly Unlisted[], read: ReadUnlisted): void {
  const { size, tokens } = read;
  const any = rows.find(({ ids }) => ids.length > 0)?.ids[0] ?? 0;
  const ids = new Int32Array(rows.length * size).fill(any);
  for (const [i, row] of rows.entries()) ids.set(row.ids.length > size ? row.ids.slice(0, size) : row.ids, i * size);
  graph.set('rows', head.places(ids));
  const offsets = new Float32Array(tokens.length * size).fill(unread);
  for (const [p, own] of tokens.entries())
    for (const [n, id] of own.entries()) offsets[p * size + n] = head.biases?.[id] ?? 0;
  graph.set('offsets', offsets);
}

/** The stream behind a stage at a place `[width]`. */
export function readState({ processors, model }: GgmlModel, store: Store, stage: number, place: number): Float32Array {
  const width = cutWidth(model.spec, store.cut(stage));
  const into = new Float32Array(width);
  processors[stage]!.library.get(store.stream(stage), into, place * width * 4, into.byteLength);
  return into;
}

/** Keys and values of an attention `[count, kvHeads · headDimensions]` each, from the first position of a row on. */
export function readPast(
  { processors, model: { spec } }: GgmlModel,
  store: Store,
  slot: string,
  row: number,
  count: number,
): { key: Float32Array; value: Float32Array } {
  const { library } = processors[0]!;
  const { key, value, type } = store.past(slot);
  const width = spec.kvHeads * spec.headDimensions;
  const start = row * store.capacity * width;
  const read = (tensor: Tensor): Float32Array => {
    const into = type === 'F32' ? new Float32Array(count * width) : new Uint16Array(count * width);
    if (count > 0) library.get(tensor, into, start * into.BYTES_PER_ELEMENT, into.byteLength);
    return into instanceof Float32Array ? into : Float32Array.from(into, (half) => halfValues[half]!);
  };
  return { key: read(key), value: read(value) };
}
