/**
 * Dense MLPs in place of mixtures of experts: what exits learn and copy, under the names of a dense layer's MLP. One is as wide as the
 * experts that a token uses, and consists of the first experts, each with an equal share, and of a shared one with half.
 */
import type { Parameters } from './parameters.ts';
import type { MixtureSpec, ModelSpec } from './spec.ts';

/** Parameters with those of a dense MLP in every layer that has a mixture. */
export function withDenseMlps(spec: ModelSpec, base: Parameters): Parameters {
  const mixtureBehind = (name: string): Place | null => {
    const [, layer, module, kind] =
      /^layers\.(\d+)\.mlp\.(gate_proj|up_proj|down_proj)\.(weight|bias)$/.exec(name) ?? [];
    const mixture = layer === undefined ? undefined : spec.layers[Number(layer)]?.mixture;
    if (!mixture) return null;
    const place = {
      path: `layers.${layer}.mlp`,
      module: module as Place['module'],
      kind: kind as Place['kind'],
      mixture,
    };
    return kind === 'weight' || base.has(`${place.path}.experts.${module}.bias`) ? place : null;
  };
  const values = (place: Place): Float32Array => (place.kind === 'weight' ? weight(base, place) : bias(base, place));
  return {
    ...base,
    has: (name) => base.has(name) || mixtureBehind(name) !== null,
    shape(name) {
      const place = mixtureBehind(name);
      if (!place) return base.shape(name);
      const [out, input] = place.module === 'down_proj' ? [spec.hidden, widthOf(place)] : [widthOf(place), spec.hidden];
      return place.kind === 'weight' ? [out, input] : [out];
    },
    values(name) {
      const place = mixtureBehind(name);
      return place ? values(place) : base.values(name);
    },
    storedType: (name) => (mixtureBehind(name) ? null : base.storedType(name)),
  };
}

interface Place {
  readonly path: string;
  readonly module: 'gate_proj' | 'up_proj' | 'down_proj';
  readonly kind: 'weight' | 'bias';
  readonly mixture: MixtureSpec;
}

const widthOf = ({ mixture: { chosen, feedForward, shared } }: Place): number => chosen * feedForward + (shared ?? 0);

/**
 * g · sigmoid(1.702 g) is silu(1.702 g) ÷ 1.702: if an expert has a limit, gates are multiplied by this and the output is divided by it.
 */
const slopeOf = ({ mixture }: Place): number => (mixture.limit === null ? 1 : 1.702);

const sharedShare = 0.5;

function weight(base: Parameters, place: Place): Float32Array {
  const { path, module, mixture } = place;
  const { chosen, feedForward, shared } = mixture;
  const shape = base.shape(`${path}.gate.weight`);
  const hidden = shape[1]!;
  const width = widthOf(place);
  const all = new Float32Array(width * hidden);
  const rows = chosen * (module === 'down_proj' ? hidden : feedForward);
  const experts = base.rows(
    `${path}.experts.${module}.weight`,
    Int32Array.from({ length: rows }, (_, i) => i),
  );
  const own = shared === null ? null : base.values(`${path}.shared_expert.${module}.weight`);
  if (module !== 'down_proj') {
    const factor = module === 'gate_proj' ? slopeOf(place) : 1;
    all.set(factor === 1 ? experts : experts.map((value) => value * factor));
    if (own) all.set(own, experts.length);
    return all;
  }
  const share = 1 / (chosen * slopeOf(place));
  for (let out = 0; out < hidden; out++) {
    for (let e = 0; e < chosen; e++) {
      const from = (e * hidden + out) * feedForward;
      for (let j = 0; j < feedForward; j++) all[out * width + e * feedForward + j] = share * experts[from + j]!;
    }
    for (let j = 0; j < (shared ?? 0); j++)
      all[out * width + chosen * feedForward + j] = sharedShare * own![out * shared! + j]!;
  }
  return all;
}

function bias(base: Parameters, place: Place): Float32Array {
  const { path, module, mixture } = place;
  const { chosen, feedForward, limit } = mixture;
  const experts = base.values(`${path}.experts.${module}.bias`);
  const all = new Float32Array(module === 'down_proj' ? experts.length / mixture.experts : widthOf(place));
  if (module === 'down_proj') {
    for (let e = 0; e < chosen; e++)
      for (let i = 0; i < all.length; i++) all[i]! += experts[e * all.length + i]! / chosen;
    return all;
  }
  all.set(experts.subarray(0, chosen * feedForward));
  // If an expert has a limit, it multiplies by up + 1.
  if (module === 'gate_proj') return all.map((value) => value * slopeOf(place));
  return limit === null ? all : all.map((value, i) => (i < chosen * feedForward ? value + 1 : value));
}
