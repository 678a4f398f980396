/**
 * Fits trust in the text (exits/trust.ts) in the pass over text that fits exits: a direction of the stream that tells right hints from wrong
 * ones. Hints that are not clear teach it, too.
 */
import { setImmediate } from 'node:timers/promises';
import { hintsBehind, type Hint } from '../../data/hints.ts';
import { directionSteps, fitDirection } from '../../exits/direction.ts';
import type { StepBatch } from '../../features/features.ts';
import type { Parameters } from '../../model/parameters.ts';
import { cutName, cutWidth, type Cut, type ModelSpec } from '../../model/spec.ts';

type HeadParameters = Pick<Parameters, 'has' | 'rows' | 'values'>;

export interface TrustFitOptions {
  readonly spec: ModelSpec;
  readonly model: HeadParameters;
  readonly cuts: readonly Cut[];
}

export interface TrustFit {
  /** Takes in a batch of one window with its streams at the cuts and its final state; `ids`: its tokens. */
  add(window: StepBatch, ids: readonly number[]): void;
  /** How long `solve` takes for what was taken in so far, about. */
  readonly solveSeconds: number;
  /** By cut name: the direction `[width + 1]`; none for cuts without a place with a hint. `hurried`: time is over. */
  solve(hurried?: () => boolean): Promise<Map<string, Float32Array>>;
}

/** Tokens before the first hint of a window that counts: what a text has said so far must be worth repeating. */
const firstHint = 32;
/** Numbers of streams that are kept for a cut, 32 MB: 9,000 places of a width of 896. */
const mostNumbers = 2 ** 23;
/** Of a step; a number takes part in two products (V8 on an EPYC). */
const secondsPerNumber = 4e-9;

/**
 * Weights are taken to lie around 0 beforehand, so that log-odds of a scaled stream have this variance. Between 3 and 18 little changes; a
 * smaller one tells less, a larger one knows its text by heart (docs/lab.md).
 */
const variance = 6;

interface Places {
  readonly name: string;
  readonly width: number;
  /** Of the stream, at each place `[width]`. */
  readonly states: Float32Array[];
  /** 1 where the hint is right. */
  readonly right: number[];
}

export function openTrustFit({ spec, model, cuts }: TrustFitOptions): TrustFit {
  const fitted: Places[] = cuts.map((cut) => ({
    name: cutName(cut),
    width: cutWidth(spec, cut),
    states: [],
    right: [],
  }));
  const bias = model.has('lm_head.bias') ? model.values('lm_head.bias') : null;
  return {
    add(window, ids) {
      const places = hintedPlaces(window, ids, { model, bias }, spec.hidden);
      for (const { name, width, states, right } of fitted) {
        const stream = window.features.get(name);
        if (!stream) throw new Error(`the batch has no features at ${name}`);
        for (const [at, isRight] of places) {
          if (states.length * width >= mostNumbers) break;
          states.push(stream.slice(at * width, (at + 1) * width));
          right.push(Number(isRight));
        }
      }
    },
    get solveSeconds() {
      return (
        fitted.reduce((sum, { states, width }) => sum + states.length * width, 0) * directionSteps * secondsPerNumber
      );
    },
    async solve(hurried) {
      const found = new Map<string, Float32Array>();
      for (const { name, width, states, right } of fitted) {
        await setImmediate(); // let a cancellation in
        if (states.length > 0) found.set(name, fitDirection(states, right, width / variance / states.length, hurried));
      }
      return found;
    },
  };
}

/** The head of the full model; `bias` `[vocabulary]`, null if it has none. */
interface Head {
  readonly model: HeadParameters;
  readonly bias: Float32Array | null;
}

/**
 * Places of a window with a hint, and whether the full model would rather write it than what follows in the text, which may be the
 * same. Its best token would say more, but asking for that takes the whole head.
 */
function hintedPlaces(
  { targets, final }: StepBatch,
  ids: readonly number[],
  { model, bias }: Head,
  hidden: number,
): Map<number, boolean> {
  const hints: readonly (Hint | null)[] = [...ids.slice(0, firstHint).map(() => null), ...hintsBehind(ids, firstHint)];
  const places = [...hints.keys()].filter((at) => hints[at] && targets[at]! >= 0);
  const rivals = places.filter((at) => hints[at]!.token !== targets[at]);
  const tokens = rivals.flatMap((at) => [hints[at]!.token, targets[at]!]);
  const rows = model.rows('lm_head.weight', tokens);
  const logit = (at: number, row: number): number => {
    let dot = bias?.[tokens[row]!] ?? 0;
    for (let i = 0; i < hidden; i++) dot += final![at * hidden + i]! * rows[row * hidden + i]!;
    return dot;
  };
  const right = new Map(places.map((at) => [at, true]));
  for (const [n, at] of rivals.entries()) right.set(at, logit(at, 2 * n) > logit(at, 2 * n + 1));
  return right;
}
