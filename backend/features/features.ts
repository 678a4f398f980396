/**
 * Windows of tokens → the backbone's states at some cuts, batch by batch, from the feature cache if it has them. Knows
 * neither exits nor losses.
 */
import { userError } from '../../protocol/errors.ts';
import { cutName, cutWidth, finalCut, type ModelSpec } from '../model/spec.ts';
import { entryNames, type FeatureModel } from '../runtime/staged-model.ts';
import type { FeatureCache } from './cache.ts';

/** Tokens of one window, `[tokens]` each. `targets[i]` is the token after `ids[i]`; −1 if nothing is to be learned there. */
export interface Window {
  readonly ids: Int32Array;
  readonly targets: Int32Array;
}

/** Packed windows of equal length, read by index. */
export interface Windows {
  readonly count: number;
  /** Positions of a window. */
  readonly tokens: number;
  /** Hash of all tokens and targets in order. */
  readonly hash: string;
  /** Whether all of the text is chats, of which only answers are learned. */
  readonly areChats?: boolean;
  window(index: number): Window;
}

/** Features of full sequences of `tokens` positions; all but the last have a target. */
export interface StepBatch {
  readonly batch: number;
  readonly tokens: number;
  /** Indices of its windows: what was computed of a window is found again by them. */
  readonly windows?: readonly number[];
  /** By cut name, and by the names of keys and values if the model returns those (`entryNames`): `[batch, tokens, width]`. */
  readonly features: ReadonlyMap<string, Float32Array>;
  /** Target token of each position `[batch, tokens]`; −1 if there is none (last position, prompt of a chat, padding). */
  readonly targets: Int32Array;
  /** The normed final state `[batch, tokens, hidden]` that the model's head reads; null unless distilling. */
  readonly final: Float32Array | null;
}

/** The model's last norm, which gives the state that its head reads. */
export interface FinalNorm {
  readonly weight: Float32Array;
  readonly bias: Float32Array | null;
}

export interface FeatureSource {
  readonly windows: Windows;
  /** States of some windows; `final` is there when the source was given the final norm. */
  batch(indices: readonly number[]): Promise<StepBatch>;
  /** Windows that went through the backbone so far; the others came from the cache. */
  computed(): number;
}

export interface FeatureSourceOptions {
  readonly model: FeatureModel;
  readonly windows: Windows;
  readonly cache: FeatureCache | null;
  /** Given if batches must have the normed final state; then `model.cuts` must end with the final cut. */
  readonly finalNorm?: FinalNorm | null;
}

/**
 * A source of batches. Windows that the cache lacks go through the backbone together; what is read again later equals
 * what was computed first, bit by bit.
 * @throws UserError `bad-weights` if the backbone gives values that are not finite.
 */
export function featureSource({ model, windows, cache, finalNorm = null }: FeatureSourceOptions): FeatureSource {
  const { spec, cuts, entries = [] } = model;
  const names = [...cuts.map(cutName), ...entryNames(entries)];
  const widths = names.map((_, i) => (i < cuts.length ? cutWidth(spec, cuts[i]!) : spec.kvHeads * spec.headDimensions));
  const final = cutName(finalCut(spec));
  const { tokens } = windows;
  let computed = 0;

  async function compute(indices: readonly number[], into: Map<number, Map<string, Float32Array>>): Promise<void> {
    const ids = new Int32Array(indices.length * tokens);
    indices.forEach((index, row) => ids.set(windows.window(index).ids, row * tokens));
    const states = await model.features(ids, indices.length, tokens);
    computed += indices.length;
    indices.forEach((index, row) => {
      const values = new Map<string, Float32Array>();
      names.forEach((name, c) => {
        const size = tokens * widths[c]!;
        const value = states[c]!.subarray(row * size, (row + 1) * size);
        requireFinite(value, name);
        values.set(name, value);
      });
      into.set(index, values);
    });
    // Keys and values are read once, by the fit of memories.
    const streams = (values: Map<string, Float32Array>): Map<string, Float32Array> =>
      new Map(cuts.map((cut) => [cutName(cut), values.get(cutName(cut))!]));
    cache?.write(new Map([...into].map(([window, values]) => [window, streams(values)])));
  }

  return {
    windows,
    computed: () => computed,
    async batch(indices) {
      const absent = new Map<number, Map<string, Float32Array>>();
      const found = new Map<number, Map<string, Float32Array>>();
      for (const index of new Set(indices)) {
        const values = fromCache(cache, index, names, widths);
        if (values) found.set(index, values);
        else absent.set(index, new Map());
      }
      if (absent.size > 0) {
        const missing = [...absent.keys()];
        absent.clear();
        await compute(missing, absent);
      }
      const features = new Map<string, Float32Array>();
      names.forEach((name, c) => {
        const size = tokens * widths[c]!;
        const joined = new Float32Array(indices.length * size);
        indices.forEach((index, row) => joined.set((found.get(index) ?? absent.get(index))!.get(name)!, row * size));
        features.set(name, joined);
      });
      const targets = new Int32Array(indices.length * tokens);
      indices.forEach((index, row) => targets.set(windows.window(index).targets, row * tokens));
      const stream = features.get(final);
      return {
        batch: indices.length,
        tokens,
        windows: indices,
        features,
        targets,
        final: finalNorm && stream ? normState(spec, finalNorm, stream) : null,
      };
    },
  };
}

/** The state that the model's head reads, of rows `[…, hidden]` of the stream: normed, with the factor on logits. */
export function normState(spec: ModelSpec, { weight, bias }: FinalNorm, x: Float32Array): Float32Array {
  const { hidden, logitScale } = spec;
  const { kind, epsilon, unitOffset } = spec.norm;
  const y = new Float32Array(x.length);
  for (let row = 0; row < x.length; row += hidden) {
    let mean = 0;
    if (kind === 'layer') {
      for (let i = 0; i < hidden; i++) mean += x[row + i]!;
      mean /= hidden;
    }
    let squares = 0;
    for (let i = 0; i < hidden; i++) squares += (x[row + i]! - mean) ** 2;
    const factor = 1 / Math.sqrt(squares / hidden + epsilon);
    for (let i = 0; i < hidden; i++) {
      const normed = (x[row + i]! - mean) * factor * (weight[i]! + unitOffset) + (bias ? bias[i]! : 0);
      y[row + i] = normed * logitScale;
    }
  }
  return y;
}

function fromCache(
  cache: FeatureCache | null,
  window: number,
  names: readonly string[],
  widths: readonly number[],
): Map<string, Float32Array> | null {
  if (!cache || !names.every((name) => cache.has(window, name))) return null;
  const values = new Map<string, Float32Array>();
  for (const [c, name] of names.entries()) {
    const value = cache.read(window, name, widths[c]!);
    if (!value) return null;
    values.set(name, value);
  }
  return values;
}

function requireFinite(values: Float32Array, cut: string): void {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]! * 0;
  if (sum !== 0) {
    throw userError(
      'bad-weights',
      `The model's hidden state at ${cut} is not finite: its weights are damaged, or too large for this device.`,
      'Check the model file, or choose --device cpu.',
    );
  }
}
