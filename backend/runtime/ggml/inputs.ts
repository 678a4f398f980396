/** The inputs of a pass's graph that depend on positions: the source and target of each column, and its mask. */
import type { BuiltGraph } from '../../ggml/graph.ts';
import type { PassShape } from './store.ts';
import type { RotationTable, InputRotations } from './rotations.ts';
import type { Place } from '../staged-model.ts';

export interface PassPlaces extends PassShape {
  /** Of each row of the pass: how many positions were run, and how many tokens are new; the rest is padding. */
  readonly starts: readonly number[];
  readonly counts: readonly number[];
  /** Positions of each row's text so far, those of later passes too. */
  readonly lengths: readonly number[];
  /** Positions of a row, and a place after all rows to which padding is written. */
  readonly capacity: number;
  readonly padding: number;
  /** Whether a token's keys and values were filled, so that those of this pass are not kept. */
  readonly isFilled: (row: number, position: number) => boolean;
}

export function fillPass(graph: BuiltGraph, pass: PassPlaces, rotations: InputRotations): void {
  const { tokens, rows, starts, counts, capacity, padding } = pass;
  const batch = rows.length;
  const columns = tokens * batch;
  const at = new Int32Array(columns);
  const places = new BigInt64Array(columns);
  // Among keys and values.
  const entries = new BigInt64Array(columns);
  const positions = new Int32Array(columns);
  // With `lastOnly`: the column of the last token of each row, and its target.
  const last = new Int32Array(batch);
  const lastPlaces = new BigInt64Array(batch);
  for (let r = 0; r < batch; r++) {
    for (let t = 0; t < tokens; t++) {
      const column = r * tokens + t;
      const isPadding = t >= counts[r]!;
      const position = isPadding ? 0 : starts[r]! + t;
      const place = isPadding ? padding : rows[r]! * capacity + position;
      at[column] = place;
      places[column] = BigInt(place);
      entries[column] = BigInt(pass.isFilled(rows[r]!, position) ? padding : place);
      positions[column] = position;
    }
    last[r] = r * tokens + Math.max(0, counts[r]! - 1);
    lastPlaces[r] = places[last[r]!]!;
  }
  for (const name of graph.inputs) {
    if (name === 'at') graph.set(name, at);
    else if (name === 'places') graph.set(name, places);
    else if (name === 'entries') graph.set(name, entries);
    else if (name === 'positions') graph.set(name, positions);
    else if (name === 'last') graph.set(name, last);
    else if (name === 'last places') graph.set(name, lastPlaces);
    else if (isMask(name)) graph.set(name, causalMask(positions, pass.keys, windowOf(name)));
  }
  fillRotations(graph, { batch, tokens, starts, lengths: pass.lengths }, rotations);
}

/** Sets the inputs of a graph that fills the layers behind an exit: its tokens, and the lengths of their texts. */
export function fillMemory(
  graph: BuiltGraph,
  tokens: readonly Place[],
  lengths: readonly number[],
  capacity: number,
  rotations: InputRotations,
): void {
  const places = tokens.map(({ row, position }) => row * capacity + position);
  const starts = tokens.map(({ position }) => position);
  graph.set('at', Int32Array.from(places));
  graph.set('entries', BigInt64Array.from(places, BigInt));
  if (graph.inputs.includes('positions')) graph.set('positions', Int32Array.from(starts));
  fillRotations(graph, { batch: tokens.length, tokens: 1, starts, lengths }, rotations);
}

/** Angles of the columns, for graphs that have them as inputs. */
export function fillRotations(
  graph: BuiltGraph,
  pass: Parameters<RotationTable['angles']>[0],
  rotations: InputRotations,
): void {
  for (const [name, table] of rotations) {
    if (!graph.inputs.includes(`cos.${name}`)) continue;
    const { cos, sin } = table.angles(pass);
    graph.set(`cos.${name}`, cos);
    graph.set(`sin.${name}`, sin);
  }
}

export const isMask = (input: string): boolean => input === 'mask' || input.startsWith('mask.');

/** `mask` sees all earlier positions, `mask.<window>` the last `window`, the own one counted. */
export const windowOf = (name: string): number | null => (name === 'mask' ? null : Number(name.slice('mask.'.length)));

const minusInfinity = 0xfc00;

/** `[columns, keys]` in 16 bits: 0 if the column may attend to a position, else −∞. */
export function causalMask(positions: Int32Array, keys: number, window: number | null): Uint16Array {
  const mask = new Uint16Array(positions.length * keys).fill(minusInfinity);
  for (const [column, position] of positions.entries()) {
    const from = window === null ? 0 : Math.max(0, position + 1 - window);
    mask.fill(0, column * keys + from, column * keys + position + 1);
  }
  return mask;
}
