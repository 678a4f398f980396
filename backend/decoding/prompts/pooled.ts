/**
 * One vector of length 1 for a whole text: the mean of its tokens' streams at a cut, or the last of them, each normed as for the model's own
 * head.
 */
import type { ModelSpec } from '../../model/spec.ts';
import type { StagedModel } from '../../runtime/staged-model.ts';
import type { KvCache } from '../cache/kv-cache.ts';

/** A request for a vector of a text, which is only read. */
export interface Pool {
  /** At which exit's cut, by its id; null: behind the last layer. */
  readonly exit: string | null;
  /** Whether only the last token counts. */
  readonly lastOnly: boolean;
  /** The stream `[width]` of the next token; in order. */
  take(state: Float32Array): void;
}

/** Gives the pool the states of a row's tokens from `from` up to `to`. */
export function tellStates(
  { exits }: Pick<StagedModel, 'exits'>,
  cache: Pick<KvCache, 'state'>,
  pool: Pool,
  row: number,
  { from, to }: { readonly from: number; readonly to: number },
): void {
  const k = exits.findIndex(({ spec, id }) => (pool.exit === null ? spec === null : id === pool.exit));
  for (let position = pool.lastOnly ? to - 1 : from; position < to; position++)
    pool.take(cache.state(k, row, position));
}

/** The final norm's parameters. */
export interface FinalNorm {
  readonly spec: ModelSpec['norm'];
  readonly gain: Float32Array;
  readonly bias: Float32Array | null;
}

export interface Pooling extends Pool {
  /** `[hidden]`; zeros if there was no token. */
  value(): Float32Array;
}

export function newPooling(norm: FinalNorm, exit: string | null, kind: 'mean' | 'last'): Pooling {
  const sum = new Float64Array(norm.gain.length);
  return {
    exit,
    lastOnly: kind === 'last',
    take(state) {
      const one = normed(state, norm);
      if (kind === 'last') sum.set(one);
      else for (let i = 0; i < sum.length; i++) sum[i]! += one[i]!;
    },
    value() {
      const length = Math.hypot(...sum);
      return Float32Array.from(sum, (each) => (length === 0 ? 0 : each / length));
    },
  };
}

/** x / rms(x), or (x − mean) / deviation, times the gain, plus the bias. At a cut within a layer the stream is the first part. */
function normed(state: Float32Array, { spec, gain, bias }: FinalNorm): Float64Array {
  const size = gain.length;
  let [mean, square] = [0, 0];
  if (spec.kind === 'layer') for (let i = 0; i < size; i++) mean += state[i]! / size;
  for (let i = 0; i < size; i++) square += (state[i]! - mean) ** 2 / size;
  const scale = 1 / Math.sqrt(square + spec.epsilon);
  return Float64Array.from(
    gain,
    (each, i) => (state[i]! - mean) * scale * (each + spec.unitOffset) + (bias === null ? 0 : bias[i]!),
  );
}
