/**
 * First values of an exit's parameters: copies of the backbone's, or seeded noise (EE-Tuning, section 3.1). A fit (fit.ts)
 * starts from a copy. Knows nothing of training.
 */
import type { Parameters } from '../model/parameters.ts';
import type { ModelSpec } from '../model/spec.ts';
import { exitParameters, parameterSize, type ExitParameter } from './parameters.ts';
import { shortlistOf, type ExitSpec } from './spec.ts';

export type Initialisation = { readonly kind: 'copy' } | { readonly kind: 'random'; readonly seed: number };

export type BackboneValues = Pick<Parameters, 'has' | 'shape' | 'values' | 'rows'>;

const deviation = 0.02;

/**
 * First values of all trained parameters of one exit, by name.
 *
 * `copy`: the backbone's own; a translator is the identity. `random`: N(0, 0.02), projections back to the stream (down, o)
 * N(0, 0.02/√(2·exit layer)), norms one, biases zero; every parameter has its own stream of the seed, so an exit's values do
 * not depend on which other exits there are.
 */
export function initialiseExit(
  spec: ModelSpec,
  exit: ExitSpec,
  backbone: BackboneValues,
  initialisation: Initialisation,
): Map<string, Float32Array> {
  return new Map(
    exitParameters(spec, exit, backbone).map((parameter) => [
      parameter.name,
      initialisation.kind === 'copy'
        ? copied(spec, exit, parameter, backbone)
        : drawn(spec, exit, parameter, initialisation.seed),
    ]),
  );
}

function copied(
  spec: ModelSpec,
  exit: ExitSpec,
  { name, source }: ExitParameter,
  backbone: BackboneValues,
): Float32Array {
  if (source === null) return identity(spec.hidden);
  const list = shortlistOf(exit);
  return list && /\.head\.(weight|bias)$/.test(name)
    ? shortlistRows(backbone, source, list)
    : Float32Array.from(backbone.values(source));
}

/** Tokens outside a list whose rows give that of its defer class, at most. */
const mostOthers = 4096;

/**
 * The rows of the listed tokens, then the defer class. The logit of defer should be the log-sum-exp of all other logits. To first order
 * that is their mean (plus a constant, which a linear head cannot express), so its row is their mean row, of tokens from all over the
 * vocabulary. A fit does better (fit.ts). For a bias the same holds: its rows are numbers.
 */
function shortlistRows(backbone: BackboneValues, source: string, tokens: readonly number[]): Float32Array {
  const [vocabulary, width = 1] = backbone.shape(source) as [number, number?];
  const listed = new Set(tokens);
  const outside = Array.from({ length: vocabulary }, (_, id) => id).filter((id) => !listed.has(id));
  const every = Math.ceil(outside.length / mostOthers);
  const others = outside.filter((_, i) => i % every === 0);
  const rows = new Float32Array((tokens.length + 1) * width);
  rows.set(rowsOf(backbone, source, tokens));
  const found = rowsOf(backbone, source, others);
  const mean = new Float64Array(width);
  for (let at = 0; at < found.length; at += width) for (let j = 0; j < width; j++) mean[j]! += found[at + j]!;
  rows.set(
    mean.map((sum) => sum / Math.max(1, others.length)),
    tokens.length * width,
  );
  return rows;
}

/** Some rows of a matrix, or entries of a vector. */
export function rowsOf(
  backbone: Pick<BackboneValues, 'shape' | 'values' | 'rows'>,
  source: string,
  ids: readonly number[],
): Float32Array {
  if (backbone.shape(source).length > 1) return backbone.rows(source, ids);
  const values = backbone.values(source);
  return Float32Array.from(ids, (id) => values[id]!);
}

function drawn(spec: ModelSpec, exit: ExitSpec, parameter: ExitParameter, seed: number): Float32Array {
  const size = parameterSize(parameter);
  if (parameter.shape.length === 1) {
    return new Float32Array(size).fill(parameter.name.endsWith('.weight') ? 1 - spec.norm.unitOffset : 0);
  }
  const toStream = /\.(down_proj|o_proj)\.weight$/.test(parameter.name);
  const normal = normalNumbers(seed, parameter.name);
  const scale = toStream ? deviation / Math.sqrt(2 * exit.layer) : deviation;
  return Float32Array.from({ length: size }, () => normal() * scale);
}

function identity(size: number): Float32Array {
  const matrix = new Float32Array(size * size);
  for (let i = 0; i < size; i++) matrix[i * size + i] = 1;
  return matrix;
}

/** Standard normal numbers (Box–Muller over a 32-bit mix of a counter), a stream for each seed and name. */
function normalNumbers(seed: number, name: string): () => number {
  let state = seed >>> 0;
  for (const character of name) state = Math.imul(state ^ character.codePointAt(0)!, 0x01000193) >>> 0;
  const uniform = (): number => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return (((mixed ^ (mixed >>> 15)) >>> 0) + 0.5) / 2 ** 32;
  };
  let spare: number | null = null;
  return () => {
    if (spare !== null) {
      const kept = spare;
      spare = null;
      return kept;
    }
    const radius = Math.sqrt(-2 * Math.log(uniform()));
    const angle = 2 * Math.PI * uniform();
    spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
}
