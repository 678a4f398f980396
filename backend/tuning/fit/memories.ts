/**
 * Fits the memories of exits (exits/memory.ts) in one pass over text: compiled sums window by window, then a solution in closed form. Knows
 * neither the source of batches nor the use of memories.
 */
import { matMul, mul, sum } from '@tensorflow/tfjs-core';
import { record, type InputSpec } from '../../autodiff/recorder.ts';
import {
  copiedMemory,
  entryWidth,
  firstTokens,
  fittedMemory,
  layersBehind,
  memoryInputs,
  memoryRows,
  type FittedMemory,
  type MemoryMap,
  type MemorySums,
} from '../../exits/memory.ts';
import { emptySums, type Multiply } from '../../exits/ridge.ts';
import type { StepBatch } from '../../features/features.ts';
import type { Parameters } from '../../model/parameters.ts';
import { cutName, type Cut, type ModelSpec } from '../../model/spec.ts';
import type { Session, Value } from '../../onnx/session.ts';
import { entryNames } from '../../runtime/staged-model.ts';
import type { Open } from './products.ts';
import { targetWeights } from '../step/plan.ts';

export interface MemoryFitOptions {
  readonly spec: ModelSpec;
  readonly model: Pick<Parameters, 'has' | 'values'>;
  /** Cuts of the exits that get a memory. */
  readonly cuts: readonly Cut[];
  /** Positions of a window. */
  readonly tokens: number;
}

export interface MemoryFit {
  /** Takes in a batch of one window, with its streams at the cuts, and keys and values of the layers behind them. */
  add(window: StepBatch, isApart: boolean): Promise<void>;
  /** By cut name. `hurried`: time is over, and what is known so far must do. */
  solve(hurried?: () => boolean): Promise<Map<string, FittedMemory>>;
  /** Products of square matrices that `solve` costs, about. */
  readonly products: number;
}

interface FittedCut {
  readonly cut: Cut;
  /** Of the columns, in order. */
  readonly names: readonly string[];
  readonly copy: MemoryMap;
  readonly session: Session;
  readonly learned: MemorySums;
  readonly apart: MemorySums;
}

/** Products of square matrices in the solution of a cut, as counted for Qwen2.5-Coder-1.5B: of all inverses, and of its columns. */
const solution = { inverses: 18, columns: 9 } as const;

export async function openMemoryFit(
  { spec, model, cuts, tokens }: MemoryFitOptions,
  open: Open,
  multiply: Multiply,
): Promise<MemoryFit> {
  const size = spec.hidden + 1;
  const each = entryWidth(spec);
  const fitted: FittedCut[] = [];
  for (const cut of cuts) {
    const columns = memoryRows(spec, cut);
    const inputs: Record<'x' | 'y' | 'weights', InputSpec> = {
      x: { shape: [tokens, size] },
      y: { shape: [tokens, columns] },
      weights: { shape: [tokens, 1] },
    };
    const session = await open(
      record(inputs, ({ x, y, weights }) => {
        const counted = mul(x, weights);
        const targets = mul(y, weights);
        return {
          xx: matMul(counted, x, true, false),
          xy: matMul(counted, y, true, false),
          yy: sum(mul(targets, y), 0),
        };
      }),
    );
    const names = entryNames(layersBehind(spec, cut));
    fitted.push({
      cut,
      names: ['keys', 'values'].flatMap((kind) => names.filter((name) => name.endsWith(kind))),
      copy: copiedMemory(spec, model, cut),
      session,
      learned: noSums(size, columns),
      apart: noSums(size, columns),
    });
  }
  return {
    products: fitted.reduce(
      (all, { names }) => all + solution.inverses + (solution.columns * names.length * each) / spec.hidden,
      0,
    ),
    async add(window, isApart) {
      const weights: Value = { data: memoryWeights(window), shape: [tokens, 1] };
      for (const { cut, names, session, learned, apart } of fitted) {
        const stream = window.features.get(cutName(cut));
        if (!stream) throw new Error(`the batch has no features at ${cutName(cut)}`);
        const x: Value = { data: memoryInputs(spec, cut, stream), shape: [tokens, size] };
        const y: Value = { data: beside(window, names, each), shape: [tokens, names.length * each] };
        addTo(isApart ? apart : learned, await session.run({ x, y, weights }));
      }
    },
    async solve(hurried) {
      const memories = new Map<string, FittedMemory>();
      for (const { cut, copy, learned, apart } of fitted)
        memories.set(cutName(cut), await fittedMemory(copy, learned, apart, each, multiply, hurried));
      return memories;
    },
  };
}

const noSums = (size: number, columns: number): MemorySums => ({
  sums: emptySums(size, columns),
  yy: new Float64Array(columns),
});

function addTo({ sums, yy }: MemorySums, results: Record<string, Value>): void {
  for (const [into, from] of [
    [sums.xx, results['xx']!],
    [sums.xr, results['xy']!],
    [yy, results['yy']!],
  ] as const) {
    const values = from.data as Float32Array;
    for (let i = 0; i < into.length; i++) into[i]! += values[i]!;
  }
}

/** 1 for each token that counts: the first ones of a text are always computed in full. */
const memoryWeights = (window: StepBatch): Float32Array => targetWeights(window).fill(0, 0, firstTokens);

/** Keys and values of some layers `[tokens, names · each]`. */
function beside({ features, tokens }: StepBatch, names: readonly string[], each: number): Float32Array {
  const all = new Float32Array(tokens * names.length * each);
  for (const [i, name] of names.entries()) {
    const values = features.get(name);
    if (!values) throw new Error(`the batch has no ${name}`);
    for (let t = 0; t < tokens; t++) all.set(values.subarray(t * each, (t + 1) * each), (t * names.length + i) * each);
  }
  return all;
}
