/**
 * Memory of an exit: one linear map from the stream at its cut to the keys and values of the attentions behind it, for a token that left
 * there (the map is ours; its starting point is CALM's copy, arXiv 2207.07061). Knows names, shapes and sums, no batches and no runtime.
 *
 * r is the stream at the cut as those attentions read it, before their gains: normed without a scale, or, if a family norms only behind
 * attention (OLMo 2), unchanged. The map goes from r to keys, before their norm and rotation, and to values: first the keys of all those
 * layers, then the values, `[2 · layers · kvHeads · headDimensions]`. It belongs to a cut: exits at the same cut share it.
 */
import { layerPath } from '../model/layer.ts';
import type { Parameters } from '../model/parameters.ts';
import { compareCuts, cutName, cutWidth, type Cut, type ModelSpec } from '../model/spec.ts';
import { corrections, type Multiply, type Range, type RegressionSums } from './ridge.ts';
import { exitCut, hasBranch } from './architectures.ts';
import type { ExitSpec } from './spec.ts';

/** `memory.16.end`: path of the matrix `[rows, hidden]` and the bias `[rows]`. */
export const memoryPath = (cut: Cut): string => `memory.${cutName(cut)}`;

export interface MemoryMap {
  /** `[rows, hidden]`. */
  readonly weight: Float32Array;
  /** `[rows]`. */
  readonly bias: Float32Array;
}

/** Layers, counted from 1, with an attention that a token skips if it leaves at a cut. */
export const layersBehind = ({ layers }: ModelSpec, { layer }: Cut): number[] =>
  Array.from({ length: layers.length - layer }, (_, i) => layer + 1 + i);

/** Width of one attention's keys, and of its values. */
export const entryWidth = ({ kvHeads, headDimensions }: ModelSpec): number => kvHeads * headDimensions;

export const memoryRows = (spec: ModelSpec, cut: Cut): number => 2 * entryWidth(spec) * layersBehind(spec, cut).length;

/** Matrices of the size of a memory, in float64, that its fit keeps from the first window on, and that solving takes beside them for a while. */
const [keptMatrices, solvingMatrices] = [2, 6];

/** Those of these cuts whose memories can be fitted within this number of bytes. The shallowest, which take most, are left out first. */
export function fittableCuts(spec: ModelSpec, cuts: readonly Cut[], bytes: number): Cut[] {
  let kept = 0;
  return [...cuts]
    .sort(compareCuts)
    .reverse()
    .filter((cut) => {
      const matrix = Float64Array.BYTES_PER_ELEMENT * (spec.hidden + 1) * memoryRows(spec, cut);
      const fits = kept + (keptMatrices + solvingMatrices) * matrix <= bytes;
      kept += keptMatrices * matrix;
      return fits;
    })
    .reverse();
}

/** Number of first tokens of a text that are always computed in full, since much attention rests on them. Memories are not fitted on them. */
export const firstTokens = 4;

/**
 * The cuts at which these exits can have a memory, each once. A branch behind a cut has keys and values for which there is no map, and
 * behind the last layer there is nothing to remember.
 */
export function memoryCuts(spec: ModelSpec, exits: readonly ExitSpec[]): Cut[] {
  const branches = exits.filter(hasBranch).map(exitCut);
  const able = exits
    .map(exitCut)
    .filter((cut) => cut.layer < spec.layers.length && !branches.some((branch) => compareCuts(branch, cut) > 0));
  return [...new Map(able.map((cut) => [cutName(cut), cut])).values()].sort(compareCuts);
}

/**
 * r of some tokens, and a one behind each: `[tokens, hidden + 1]`, from the stream at a cut `[tokens, width]`.
 */
export function memoryInputs(spec: ModelSpec, cut: Cut, stream: Float32Array): Float32Array {
  const { hidden, norm, normPlacement } = spec;
  const width = cutWidth(spec, cut);
  const tokens = stream.length / width;
  const inputs = new Float32Array(tokens * (hidden + 1));
  for (let t = 0; t < tokens; t++) {
    const x = stream.subarray(t * width, t * width + hidden);
    let [mean, factor] = [0, 1];
    if (normPlacement !== 'post') {
      if (norm.kind === 'layer') mean = x.reduce((sum, value) => sum + value, 0) / hidden;
      const squares = x.reduce((sum, value) => sum + (value - mean) ** 2, 0);
      factor = 1 / Math.sqrt(squares / hidden + norm.epsilon);
    }
    const at = t * (hidden + 1);
    for (let i = 0; i < hidden; i++) inputs[at + i] = (x[i]! - mean) * factor;
    inputs[at + hidden] = 1;
  }
  return inputs;
}

/** What the layers behind a cut make of the stream there themselves: CALM's copy, with their gains folded in. */
export function copiedMemory(spec: ModelSpec, parameters: Pick<Parameters, 'has' | 'values'>, cut: Cut): MemoryMap {
  const { hidden } = spec;
  const each = entryWidth(spec);
  const layers = layersBehind(spec, cut);
  const weight = new Float32Array(2 * each * layers.length * hidden);
  const bias = new Float32Array(2 * each * layers.length);
  const vector = (name: string): Float32Array | null => (parameters.has(name) ? parameters.values(name) : null);
  for (const [i, layer] of layers.entries()) {
    const path = layerPath(layer);
    const reads = `${path}.input_layernorm`;
    const gain = spec.normPlacement === 'post' ? null : parameters.values(`${reads}.weight`);
    const shift = spec.normPlacement === 'post' ? null : vector(`${reads}.bias`);
    for (const [n, end] of (['k_proj', 'v_proj'] as const).entries()) {
      const matrix = parameters.values(`${path}.self_attn.${end}.weight`);
      const added = vector(`${path}.self_attn.${end}.bias`);
      const first = (n * layers.length + i) * each;
      for (let row = 0; row < each; row++) {
        let sum = added?.[row] ?? 0;
        for (let c = 0; c < hidden; c++) {
          const value = matrix[row * hidden + c]!;
          weight[(first + row) * hidden + c] = gain ? value * (gain[c]! + spec.norm.unitOffset) : value;
          if (shift) sum += value * shift[c]!;
        }
        bias[first + row] = sum;
      }
    }
  }
  return { weight, bias };
}

/** Sums over tokens of x = [r, 1] and of the entries y that the model itself made of them. */
export interface MemorySums {
  /** `xr` is Σ xᵀy here. */
  readonly sums: RegressionSums;
  /** Σ y², by column. */
  readonly yy: Float64Array;
}

/** How far from the model's own entries those of a map are, on tokens kept apart: Σ‖y − ŷ‖² ÷ Σ‖y − mean‖². */
export interface MemoryErrors {
  /** Of keys and of values, over all layers. */
  readonly copied: { readonly keys: number; readonly values: number };
  readonly fitted: { readonly keys: number; readonly values: number };
}

/**
 * Nats that later tokens lose on average by the filled entries of one token, for each layer and each unit of error: in judged text of
 * SmolLM2 (docs/lab.md).
 */
const damageOfLayer = 0.005;

/** Nats that later tokens lose on average by the filled entries of a token that leaves at this cut. */
export const damageBy = (
  spec: ModelSpec,
  cut: Cut,
  { fitted: { keys, values } }: Pick<MemoryErrors, 'fitted'>,
): number => (damageOfLayer * layersBehind(spec, cut).length * (keys + values)) / 2;

export interface FittedMemory extends MemoryMap {
  /** Null if no tokens were kept apart. */
  readonly errors: MemoryErrors | null;
}

/**
 * The map that a ridge towards the copy finds, with a strength for the keys and one for the values of each layer.
 * @throws Error if the sums are not finite.
 */
export async function fittedMemory(
  copy: MemoryMap,
  learned: MemorySums,
  apart: MemorySums,
  each: number,
  multiply: Multiply,
  hurried?: () => boolean,
): Promise<FittedMemory> {
  const { size, columns } = learned.sums;
  const copied = augmented(copy, size, columns);
  const ranges: Range[] = Array.from({ length: columns / each }, (_, i) => ({ from: i * each, to: (i + 1) * each }));
  const left = await beyondCopy(learned.sums, copied, multiply);
  const leftApart = await beyondCopy(apart.sums, copied, multiply);
  const { delta, gains } = await corrections(left, leftApart, ranges, multiply, hurried);
  const weight = copy.weight.slice();
  const bias = copy.bias.slice();
  const hidden = size - 1;
  for (let c = 0; c < columns; c++) {
    for (let i = 0; i < hidden; i++) weight[c * hidden + i]! += delta[i * columns + c]!;
    bias[c]! += delta[hidden * columns + c]!;
  }
  return { weight, bias, errors: errorsOf(apart, leftApart, copied, gains, ranges) };
}

/** `[hidden + 1, rows]`: weight and bias the other way round. */
function augmented({ weight, bias }: MemoryMap, size: number, columns: number): Float64Array {
  const result = new Float64Array(size * columns);
  for (let c = 0; c < columns; c++) {
    for (let i = 0; i < size - 1; i++) result[i * columns + c] = weight[c * (size - 1) + i]!;
    result[(size - 1) * columns + c] = bias[c]!;
  }
  return result;
}

/** Σ xᵀ(y − copy). */
async function beyondCopy(sums: RegressionSums, copied: Float64Array, multiply: Multiply): Promise<RegressionSums> {
  const { size, columns, xx, xr } = sums;
  const predicted = await multiply(xx, copied, size, size, columns);
  return { ...sums, xr: xr.map((value, i) => value - predicted[i]!) };
}

function errorsOf(
  { sums, yy }: MemorySums,
  beyond: RegressionSums,
  copied: Float64Array,
  gains: readonly number[],
  ranges: readonly Range[],
): MemoryErrors | null {
  const { size, columns, xx, xr } = sums;
  const tokens = xx[size * size - 1]!;
  if (!(tokens > 0)) return null;
  /** Σ‖y − copy‖² = Σy² − Σ copyᵀ (xᵀy + xᵀ(y − copy)). */
  const missed = (c: number): number => {
    let sum = yy[c]!;
    for (let i = 0; i < size; i++)
      sum -= copied[i * columns + c]! * (xr[i * columns + c]! + beyond.xr[i * columns + c]!);
    return sum;
  };
  const total = { copied: { keys: 0, values: 0 }, fitted: { keys: 0, values: 0 }, spread: { keys: 0, values: 0 } };
  for (const [n, { from, to }] of ranges.entries()) {
    const kind = n < ranges.length / 2 ? 'keys' : 'values';
    let error = 0;
    for (let c = from; c < to; c++) {
      error += missed(c);
      total.spread[kind] += yy[c]! - xr[(size - 1) * columns + c]! ** 2 / tokens;
    }
    total.copied[kind] += error;
    total.fitted[kind] += error - gains[n]!;
  }
  const shares = (of: typeof total.copied): typeof total.copied => ({
    keys: of.keys / total.spread.keys,
    values: of.values / total.spread.values,
  });
  return { copied: shares(total.copied), fitted: shares(total.fitted) };
}
