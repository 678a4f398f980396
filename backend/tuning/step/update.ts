/** AdamW as one small compiled graph, run over pieces of a parameter that fit the processor's cache. Values stay in JavaScript, and change in place. */
import { record, type InputSpec } from '../../autodiff/recorder.ts';
import { openSession, type Session, type SessionOptions, type Value } from '../../onnx/session.ts';
import { adamW, scalarNames, type updateNumbers } from './optimiser.ts';
import type { OptimiserOptions } from './types.ts';

/** A parameter and its moments, of equal lengths. */
export interface UpdateState {
  readonly parameter: Float32Array;
  readonly first: Float32Array;
  readonly second: Float32Array;
}

export interface CompiledUpdate {
  apply(state: UpdateState, gradient: Float32Array, numbers: ReturnType<typeof updateNumbers>): Promise<void>;
  dispose(): Promise<void>;
}

/** Elements of a parameter that one run takes: parameter, moments, gradient and temporaries stay in cache. */
const pieceElements = 2 ** 18;

/** Elements of a range that one run takes. */
export function* pieces(length: number): Generator<readonly [number, number]> {
  for (let begin = 0; begin < length; begin += pieceElements) yield [begin, Math.min(length, begin + pieceElements)];
}

/** A vector of any length, as the input of a graph. */
export const flat: InputSpec = { shape: [{ name: 'n', example: 7919 }] };
export const scalar: InputSpec = { shape: [] };
export const vector = (data: Float32Array): Value => ({ data, shape: [data.length] });
export const number = (value: number): Value => ({ data: Float32Array.of(value), shape: [] });

/** The graph is made when it is first needed. */
export function compiledUpdate(optimiser: OptimiserOptions, options: SessionOptions): CompiledUpdate {
  let opened: Promise<Session> | null = null;
  const open = (): Promise<Session> =>
    openSession(
      record(
        {
          parameter: flat,
          first: flat,
          second: flat,
          gradient: flat,
          scale: scalar,
          stepSize: scalar,
          varianceScale: scalar,
          keep: scalar,
        },
        ({ parameter, first, second, gradient, ...scalars }) => {
          const next = adamW(optimiser, { parameter, first, second }, gradient, scalars);
          return { 'next parameter': next.parameter, 'next first': next.first, 'next second': next.second };
        },
      ),
      options,
    );
  return {
    async apply(state, gradient, numbers) {
      const session = await (opened ??= open());
      const scalars = Object.fromEntries(scalarNames.map((each) => [each, number(numbers[each])]));
      for (const [begin, end] of pieces(gradient.length)) {
        const results = await session.run({
          parameter: vector(state.parameter.subarray(begin, end)),
          first: vector(state.first.subarray(begin, end)),
          second: vector(state.second.subarray(begin, end)),
          gradient: vector(gradient.subarray(begin, end)),
          ...scalars,
        });
        for (const part of ['parameter', 'first', 'second'] as const)
          state[part].set(results[`next ${part}`]!.data, begin);
      }
    },
    async dispose() {
      await (await opened)?.dispose();
      opened = null;
    },
  };
}
