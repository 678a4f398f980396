/**
 * Fits trust in the text (exits/trust.ts) in the pass over text that fits exits: least squares towards 1 and −1, over the places with a
 * clear hint.
 */
import { mul } from '@tensorflow/tfjs-core';
import { record, type InputSpec } from '../autodiff/recorder.ts';
import { hintsBehind, type Hint } from '../data/hints.ts';
import { regressionTensors } from '../exits/fit.ts';
import { correction, emptySums, type Multiply, type RegressionSums } from '../exits/ridge.ts';
import { trustInputs } from '../exits/trust.ts';
import type { StepBatch } from '../features/features.ts';
import type { Parameters } from '../model/parameters.ts';
import { cutName, cutWidth, type Cut, type ModelSpec } from '../model/spec.ts';
import type { Session, Value } from '../onnx/session.ts';
import type { Open } from './products.ts';

export interface TrustFitOptions {
  readonly spec: ModelSpec;
  readonly model: Pick<Parameters, 'rows'>;
  readonly cuts: readonly Cut[];
  /** Positions of a window. */
  readonly tokens: number;
}

export interface TrustFit {
  /** Takes in a batch of one window with its streams at the cuts and its final state; `ids`: its tokens. */
  add(window: StepBatch, ids: readonly number[], isApart: boolean): Promise<void>;
  /** By cut name: the direction `[width + 1]`; none for cuts without a place with a clear hint. */
  solve(hurried?: () => boolean): Promise<Map<string, Float32Array>>;
}

interface FittedCut {
  readonly name: string;
  readonly width: number;
  readonly session: Session;
  readonly learned: RegressionSums;
  readonly apart: RegressionSums;
}

/** Tokens before the first hint of a window that counts: what a text has said so far must be worth repeating. */
const firstHint = 32;

export async function openTrustFit(
  { spec, model, cuts, tokens }: TrustFitOptions,
  open: Open,
  multiply: Multiply,
): Promise<TrustFit> {
  const fitted: FittedCut[] = [];
  for (const cut of cuts) {
    const width = cutWidth(spec, cut);
    const inputs: Record<'x' | 'y' | 'weights', InputSpec> = {
      x: { shape: [tokens, width + 1] },
      y: { shape: [tokens, 1] },
      weights: { shape: [tokens, 1] },
    };
    const session = await open(record(inputs, ({ x, y, weights }) => regressionTensors(x, mul(y, weights), weights)));
    const none = (): RegressionSums => emptySums(width + 1, 1);
    fitted.push({ name: cutName(cut), width, session, learned: none(), apart: none() });
  }
  return {
    async add(window, ids, isApart) {
      const { y, weights } = targetsOf(window, ids, model, spec.hidden);
      const shape = [tokens, 1];
      for (const { name, width, session, learned, apart } of fitted) {
        const stream = window.features.get(name);
        if (!stream) throw new Error(`the batch has no features at ${name}`);
        const x: Value = { data: trustInputs(stream, width), shape: [tokens, width + 1] };
        const results = await session.run({ x, y: { data: y, shape }, weights: { data: weights, shape } });
        const into = isApart ? apart : learned;
        for (const sums of ['xx', 'xr'] as const) {
          const values = results[sums]!.data as Float32Array;
          for (let i = 0; i < values.length; i++) into[sums][i]! += values[i]!;
        }
      }
    },
    async solve(hurried) {
      const found = new Map<string, Float32Array>();
      for (const { name, learned, apart } of fitted) {
        if (learned.xx.at(-1) === 0) continue;
        found.set(name, Float32Array.from((await correction(learned, apart, multiply, hurried)).delta));
      }
      return found;
    },
  };
}

/**
 * 1 where the full model would rather write the hint than what follows in the text, which may be the same, else −1; and 1 where that counts:
 * at clear hints. Its best token would say more, but asking for that takes the whole head.
 */
function targetsOf(
  { targets, final, tokens }: StepBatch,
  ids: readonly number[],
  model: Pick<Parameters, 'rows'>,
  hidden: number,
): { readonly y: Float32Array; readonly weights: Float32Array } {
  const [y, weights] = [new Float32Array(tokens), new Float32Array(tokens)];
  const hints: readonly (Hint | null)[] = [...ids.slice(0, firstHint).map(() => null), ...hintsBehind(ids, firstHint)];
  const places = [...hints.keys()].filter((at) => hints[at]?.isClear && targets[at]! >= 0);
  const rivals = places.filter((at) => hints[at]!.token !== targets[at]);
  const rows = model.rows(
    'lm_head.weight',
    rivals.flatMap((at) => [hints[at]!.token, targets[at]!]),
  );
  const logit = (at: number, row: number): number => {
    let dot = 0;
    for (let i = 0; i < hidden; i++) dot += final![at * hidden + i]! * rows[row * hidden + i]!;
    return dot;
  };
  for (const at of places) [y[at], weights[at]] = [1, 1];
  for (const [n, at] of rivals.entries()) if (logit(at, 2 * n) <= logit(at, 2 * n + 1)) y[at] = -1;
  return { y, weights };
}
