/**
 * The vocabulary exit: behind the last layer, it reads the model's own head for the tokens that are likely at all. A small model with a large
 * vocabulary spends a sixth to a third of a token in its head. This exit spares most of that, and no layer, so it knows as much as the model
 * and lacks nothing later. It is made of the model's parameters and of other exits' shortlists: nothing is tuned, and nothing is stored.
 */
import { finalCut, type ModelSpec } from '../model/spec.ts';
import type { ParameterValues } from '../model/overlay.ts';
import type { Parameters } from '../model/parameters.ts';
import { exitCut } from './architectures.ts';
import { rowsOf } from './initialise.ts';
import { exitParameters } from './parameters.ts';
import { shortlistsOf, type ExitSpec } from './spec.ts';

type ModelValues = Omit<Parameters, 'isInMemory'>;

/** Below it a head is hardly worth sparing. */
const leastVocabulary = 1 << 16;
/** Of the vocabulary: fewer tokens cost less time, and more regret (docs/lab.md). */
const share = 1 / 6;
/** Kernels take rows in groups of this many; the last row is that of the defer class. */
const rowGroup = 32;

/**
 * Its tokens are those of the shortlists, then those with the lowest ids, which are the commonest of a vocabulary that was made by merging.
 * Null if the vocabulary is small, if no exit has a shortlist, or if one stands behind the last layer already.
 */
export function vocabularyExit(
  spec: ModelSpec,
  model: ModelValues,
  exits: readonly ExitSpec[],
): { readonly exit: ExitSpec; readonly parameters: ReadonlyMap<string, ParameterValues> } | null {
  const { vocabulary, layers } = spec;
  const lists = shortlistsOf(exits);
  const isTaken = exits.some((exit) => exitCut(exit).layer === finalCut(spec).layer);
  if (vocabulary < leastVocabulary || lists.length === 0 || isTaken) return null;
  const count = rowGroup * Math.ceil((share * vocabulary) / rowGroup) - 1;
  const listed = new Set(lists.flat());
  for (let id = 0; listed.size < count; id++) listed.add(id);
  // Rows that lie one behind the other are read at once.
  const tokens = [...listed].sort((a, b) => a - b);
  const exit: ExitSpec = { layer: layers.length, architecture: 'norm', head: { kind: 'shortlist', tokens } };
  // A head with a shortlist has a last row for all other tokens. What they are worth together no single row can say: it is that of one of them.
  const rows = [...tokens, vocabulary - 1];
  while (listed.has(rows.at(-1)!)) rows.push(rows.pop()! - 1);
  const parameters = exitParameters(spec, exit, model).map(({ name, shape, source }): [string, ParameterValues] => {
    const isOfHead = source!.startsWith('lm_head.');
    const values = (): Float32Array => (isOfHead ? rowsOf(model, source!, rows) : model.values(source!));
    return [name, isOfHead && shape.length > 1 ? copiedRows(shape, model, source!, rows) : lazily(shape, values)];
  });
  return { exit, parameters: new Map(parameters) };
}

/** Rows of a matrix of the model; a processor reads them as the file has them. */
function copiedRows(
  shape: readonly number[],
  model: ModelValues,
  source: string,
  rows: readonly number[],
): ParameterValues {
  const values = lazily(shape, () => rowsOf(model, source, rows));
  const type = model.storedType(source);
  return type === null
    ? values
    : Object.assign(values, { copied: { type, bytes: () => model.stored(source, undefined, rows) } });
}

/** Values that are computed when they are first read: a decoder that does not use this exit never reads them. */
function lazily(shape: readonly number[], compute: () => Float32Array): ParameterValues {
  let data: Float32Array | null = null;
  return {
    shape,
    get data() {
      return (data ??= compute());
    },
  };
}
