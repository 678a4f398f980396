/** Rotations of heads: ggml's own if angles depend only on the position, else with angles that are an input of the pass. */
import type { Ops } from '../../model/ops.ts';
import { variesInText, type RopeSpec } from '../../model/spec.ts';
import type { Value } from '../graph.ts';
import type { Tensor } from '../library.ts';
import { byHead, value, type Pass } from './pass.ts';

/** `GGML_ROPE_TYPE_NEOX`: a head's halves are rotated against each other. */
const halvesRotated = 2;

/**
 * Inputs it adds when first needed: `positions` (of each column); of a rotation that varies in a text, `cos.<rope>` and `sin.<rope>`
 * `[dimensions / 2, 1, columns]`.
 */
export const rotaryOf =
  (pass: Pass): Ops<Value>['rotary'] =>
  (x, heads, headDimensions, rope) => {
    const { library: g } = pass.processor;
    const turned = variesInText(rope)
      ? byGivenAngles(pass, x, heads, headDimensions, rope)
      : byPositions(pass, x, heads, rope);
    return value(g.reshape2(pass.sketch.context, turned, x.width, pass.columns), x.width);
  };

/** `[headDimensions, heads, columns]`. */
function byPositions(pass: Pass, x: Value, heads: number, rope: RopeSpec): Tensor {
  const { sketch, weights, columns } = pass;
  const { library: g } = pass.processor;
  const positions = sketch.input('positions', 'I32', columns);
  // Powers of a base as llama.cpp turns by them, to the bit; else, with base 1, an angle is the position ÷ a factor.
  const base = baseOf(rope);
  const periods = base === null ? weights.constant(`rope ${rope.name}`, () => periodsOf(rope)) : null;
  return g.rope(
    sketch.context,
    byHead(pass, x, heads, columns),
    positions,
    periods,
    rope.dimensions,
    halvesRotated,
    0,
    base ?? 1,
    1,
    0,
    rope.scale,
    32,
    1,
  );
}

/** Rotates the halves of every head by the angles of the inputs `cos` and `sin`: `[headDimensions, heads, columns]`. */
function byGivenAngles(
  { processor: { library: g }, sketch, columns }: Pass,
  x: Value,
  heads: number,
  headDimensions: number,
  { name, dimensions }: RopeSpec,
): Tensor {
  const { context: c } = sketch;
  const half = dimensions / 2;
  const input = (of: string): Tensor => sketch.input(`${of}.${name}`, 'F32', half, 1, columns);
  const [cos, sin] = [input('cos'), input('sin')];
  const row = headDimensions * 4;
  const { tensor, stride = heads * row } = x;
  const part = (from: number, width: number): Tensor =>
    g.view4(c, tensor, width, heads, columns, 1, row, stride, columns * stride, from * 4);
  const [a, b] = [part(0, half), part(half, half)];
  const turned = g.concat(
    c,
    g.sub(c, g.mul(c, a, cos), g.mul(c, b, sin)),
    g.add(c, g.mul(c, b, cos), g.mul(c, a, sin)),
    0,
  );
  const rest = headDimensions - dimensions;
  return rest === 0 ? turned : g.concat(c, turned, part(dimensions, rest), 0);
}

const periodsOf = ({ inverseFrequencies }: RopeSpec): Float32Array =>
  Float32Array.from(inverseFrequencies, (frequency) => 1 / frequency);

/** The base, if all frequencies are base^(−2j ÷ dimensions); null if they are scaled in another way. */
function baseOf({ dimensions, inverseFrequencies }: RopeSpec): number | null {
  const second = inverseFrequencies[1];
  if (second === undefined) return null;
  const base = Math.round(second ** (-dimensions / 2));
  const isPower = (frequency: number, j: number): boolean =>
    Math.abs(frequency * base ** ((2 * j) / dimensions) - 1) < 1e-6;
  return inverseFrequencies.every(isPower) ? base : null;
}
