/** The parameters of a model, under our names: they follow from its spec alone. Knows no file. */
import type { MixtureSpec, ModelSpec } from './spec.ts';

export interface ExpectedParameter {
  readonly name: string;
  /** `[out, in]` of a matrix, `[n]` of a vector; matrices of experts, and their biases, are stacked: `[experts · out, in]`. */
  readonly shape: readonly number[];
  readonly optional: boolean;
  /** Number of equal parts that are stacked; 0: it has no parts. */
  readonly stacked: number;
}

/** Every parameter of a model with its shape; biases (those of a LayerNorm too) and the output matrix of a tied model are optional. */
export function expectedParameters(spec: ModelSpec): ExpectedParameter[] {
  const { hidden, feedForward, vocabulary } = spec;
  const q = spec.heads * spec.headDimensions;
  const kv = spec.kvHeads * spec.headDimensions;
  const isLayerNorm = spec.norm.kind === 'layer';
  const list: ExpectedParameter[] = [];
  const matrix = (path: string, out: number, input: number, { optional = false, stacked = 0 } = {}): void => {
    list.push(
      { name: `${path}.weight`, shape: [Math.max(1, stacked) * out, input], optional, stacked },
      { name: `${path}.bias`, shape: [Math.max(1, stacked) * out], optional: true, stacked },
    );
  };
  const vector = (name: string, size: number, optional = false): void => {
    list.push({ name, shape: [size], optional, stacked: 0 });
  };
  const norm = (path: string, size: number): void => {
    vector(`${path}.weight`, size);
    if (isLayerNorm) vector(`${path}.bias`, size, true);
  };
  const gated = (path: string, width: number, stacked = 0): void => {
    matrix(`${path}.gate_proj`, width, hidden, { stacked });
    matrix(`${path}.up_proj`, width, hidden, { stacked });
    matrix(`${path}.down_proj`, hidden, width, { stacked });
  };
  const mixture = (path: string, { experts, feedForward: width, shared }: MixtureSpec): void => {
    // The router first: if the number of experts is wrong, its shape gives the clearest message.
    matrix(`${path}.gate`, experts, hidden);
    gated(`${path}.experts`, width, experts);
    if (shared === null) return;
    gated(`${path}.shared_expert`, shared);
    matrix(`${path}.shared_expert_gate`, 1, hidden);
  };
  list.push({ name: 'embed_tokens.weight', shape: [vocabulary, hidden], optional: false, stacked: 0 });
  if (spec.learnedPositions)
    list.push({ name: 'embed_positions.weight', shape: [spec.contextLength, hidden], optional: false, stacked: 0 });
  for (const [i, layer] of spec.layers.entries()) {
    const path = `layers.${i}`;
    if (spec.normPlacement !== 'post') norm(`${path}.input_layernorm`, hidden);
    norm(`${path}.post_attention_layernorm`, hidden);
    if (spec.normPlacement === 'sandwich') norm(`${path}.pre_feedforward_layernorm`, hidden);
    if (spec.normPlacement !== 'pre') norm(`${path}.post_feedforward_layernorm`, hidden);
    matrix(`${path}.self_attn.q_proj`, q, hidden);
    matrix(`${path}.self_attn.k_proj`, kv, hidden);
    matrix(`${path}.self_attn.v_proj`, kv, hidden);
    matrix(`${path}.self_attn.o_proj`, hidden, q);
    if (spec.qkNorm !== 'none') {
      norm(`${path}.self_attn.q_norm`, spec.qkNorm === 'head' ? spec.headDimensions : q);
      norm(`${path}.self_attn.k_norm`, spec.qkNorm === 'head' ? spec.headDimensions : kv);
    }
    if (spec.attentionSinks) vector(`${path}.self_attn.sinks.weight`, spec.heads);
    if (layer.mixture) mixture(`${path}.mlp`, layer.mixture);
    else if (spec.mlp === 'gated') gated(`${path}.mlp`, feedForward);
    else {
      matrix(`${path}.mlp.up_proj`, feedForward, hidden);
      matrix(`${path}.mlp.down_proj`, hidden, feedForward);
    }
  }
  norm('norm', hidden);
  matrix('lm_head', vocabulary, hidden, { optional: spec.tied });
  return list;
}

/** All numbers of a model; the output matrix of one that is tied is the embedding's. */
export const modelSize = (spec: ModelSpec): number => sizeOf(spec, spec.tied ? /^(?!lm_head)/ : /./);

/** Numbers of all layers and of the head: those with which a token is multiplied. */
export const multipliedSize = (spec: ModelSpec): number => sizeOf(spec, /^layers\./) + spec.vocabulary * spec.hidden;

/** Numbers of the parameters with such names. Biases that a family may have are left out: of a whole layer they are less than a thousandth. */
export const sizeOf = (spec: ModelSpec, name: RegExp): number =>
  expectedParameters(spec)
    .filter((each) => !(each.optional && each.name.endsWith('.bias')) && name.test(each.name))
    .reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
