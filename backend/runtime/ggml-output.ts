/** What crosses from ggml's buffers to JavaScript: readouts of exits, states, and keys and values. */
import { halfValues } from '../formats/halves.ts';
import type { Tensor } from '../ggml/library.ts';
import { cutWidth } from '../model/spec.ts';
import type { GgmlModel, Store } from './ggml-store.ts';
import { readoutsFrom, tokensOf, vocabularyRows } from './readouts.ts';
import type { Readout, RowReadout } from './staged-model.ts';

/** Positions read at once: bounds the memory of logits. */
const readLimit = 32;

/** Readouts of exit k for the `counts[i]` places of a store before `ends[i]`, of each i. */
export function readRows(
  ggml: GgmlModel,
  store: Store,
  k: number,
  ends: readonly number[],
  counts: readonly number[],
  withLogits: boolean,
): RowReadout[] {
  const { vocabulary } = ggml.model.spec;
  const at = counts.flatMap((count, i) => Array.from({ length: count }, (_, n) => ends[i]! - count + n));
  const { readouts, logits } = readExit(ggml, store, k, at, withLogits);
  let taken = 0;
  return counts.map((count) => {
    const [from, to] = [taken, (taken += count)];
    return {
      readouts: readouts.slice(from, to),
      logits: logits && logits.subarray(from * vocabulary, to * vocabulary),
    };
  });
}

/** Readouts of exit k at some places of a store; `logits`: `[places, vocabulary]`, if requested. */
function readExit(
  ggml: GgmlModel,
  store: Store,
  k: number,
  at: readonly number[],
  withLogits: boolean,
): { readonly readouts: readonly Readout[]; readonly logits: Float32Array | null } {
  const { vocabulary } = ggml.model.spec;
  const toToken = tokensOf(ggml.exits[k]!.spec);
  const isScreened = !withLogits && ggml.screens(k);
  const readouts: Readout[] = [];
  const logits = withLogits ? new Float32Array(at.length * vocabulary) : null;
  for (let from = 0; from < at.length; from += readLimit) {
    const part = Int32Array.from(at.slice(from, from + readLimit));
    const shape = { positions: part.length, isScreened };
    const graph = store.graph(`read ${k} ${part.length} ${isScreened}`, () => ggml.readGraph(k, shape, store));
    graph.set('at', part);
    graph.compute();
    readouts.push(...readoutsFrom(graph, part.length, toToken, vocabulary));
    logits?.set(vocabularyRows(graph, part.length, toToken, vocabulary), from * vocabulary);
  }
  return { readouts, logits };
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
