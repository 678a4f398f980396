/**
 * A mixture of experts as operators of ggml: the router picks each token's best experts, and only their matrices are multiplied. Tokens are
 * multiplied one by one, so that a token's bits are the same in every pass.
 */
import type { Ops } from '../../model/ops.ts';
import type { Activation, MixtureSpec } from '../../model/spec.ts';
import type { Value } from '../graph.ts';
import type { Tensor } from '../library.ts';
import type { Pass } from './pass.ts';

export interface MixtureInput {
  readonly x: Value;
  readonly path: string;
  readonly mixture: MixtureSpec;
  readonly kind: Activation;
}

/** Of gpt-oss's gate. */
const clampedSlope = 1.702;

/** Operators of a mixture at most. */
export const mixtureNodes = ({ chosen }: MixtureSpec): number => 48 + 2 * chosen;

/** What the mixture at `path` gives for x. */
export function mixtureOf(
  { processor: { library: g }, sketch: { context: c }, weights, columns }: Pass,
  ops: Ops<Value>,
  { x, path, mixture, kind }: MixtureInput,
): Value {
  const { experts, chosen, feedForward, normalised, shared, limit } = mixture;
  const scores = ops.linear(x, `${path}.gate`).tensor;
  const best = g.topK(c, scores, chosen);

  /** A number for each chosen expert `[1, chosen, columns]`. */
  const ofBest = (values: Tensor): Tensor => g.getRows(c, g.reshape3(c, values, 1, experts, columns), best);
  const shares = normalised
    ? g.reshape3(c, g.softMax(c, g.reshape2(c, ofBest(scores), chosen, columns)), 1, chosen, columns)
    : ofBest(g.softMax(c, scores));

  /** Of input `[in, 1 or chosen, columns]`: `[width, chosen, columns]`. */
  const products = (input: Tensor, module: string, width: number): Value => {
    const name = `${path}.experts.${module}`;
    const y = g.mulMatId(c, weights.experts(`${name}.weight`, experts), input, best);
    const bias = `${name}.bias`;
    if (!weights.has(bias)) return { tensor: y, width };
    return { tensor: g.addId(c, y, g.reshape2(c, weights.vector(bias), width, experts), best), width };
  };
  const input = g.reshape3(c, x.tensor, x.width, 1, columns);
  const gate = products(input, 'gate_proj', feedForward);
  const up = products(input, 'up_proj', feedForward);
  const inner =
    limit === null
      ? ops.mul(ops.activation(gate, kind), up).tensor
      : g.swigluClamped(c, gate.tensor, up.tensor, clampedSlope, limit);
  const weighted = g.mul(c, products(inner, 'down_proj', x.width).tensor, shares);

  const row = x.width * 4;
  let sum: Tensor | null = null;
  for (let i = 0; i < chosen; i++) {
    const one = g.view2(c, weighted, x.width, columns, chosen * row, i * row);
    sum = sum === null ? one : g.add(c, sum, one);
  }
  const routed = { tensor: chosen === 1 ? g.cont(c, sum!) : sum!, width: x.width };
  if (shared === null) return routed;
  const own = `${path}.shared_expert`;
  const [sharedGate, sharedUp] = ops.linears(x, [`${own}.gate_proj`, `${own}.up_proj`]) as [Value, Value];
  const y = ops.linear(ops.mul(ops.activation(sharedGate, kind), sharedUp), `${own}.down_proj`);
  const open = g.sigmoid(c, ops.linear(x, `${path}.shared_expert_gate`).tensor);
  return ops.add(routed, { tensor: g.mul(c, y.tensor, open), width: x.width });
}
