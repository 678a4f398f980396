/**
 * An exit architecture as one record: its cut, its trained parameters and their initial values, its formula over `Ops`, and how it becomes
 * a plain model and is imported again. Definitions as in EE-LLM; `lens` after the Tuned Lens (arXiv 2303.08112). A new one is a record
 * here, its name and help in `protocol/options/notations.ts`, and its formula in `distributed/early_exit_distributed/exits.py`.
 */
import { layerPath, mlpHalf, settle, type Stream } from '../model/layer.ts';
import type { Ops } from '../model/ops.ts';
import type { Parameters } from '../model/parameters.ts';
import type { Cut, ModelSpec } from '../model/spec.ts';
import { exitPath, type ExitArchitecture, type ExitSpec } from './spec.ts';

/** A module of the exit, by its path below the exit's: a copy of a module of the model, or a translator, which begins as the identity. */
export type OwnModule =
  { readonly own: string; readonly copyOf: string } | { readonly own: 'translator'; readonly copyOf: null };

/** What an exit reads at its cut: the stream, and in a parallel-residual model the layer's input. */
export interface AtCut<T> {
  readonly stream: Stream<T>;
  readonly input: T | null;
}

/** An exit as a shallower model of its own family. */
export interface PlainForm {
  /** Layers behind the exit layer. */
  readonly layersBehind: 0 | 1;
  /** Modules of the exit, and what they are in the plain model. */
  modules(exit: ExitSpec): readonly (readonly [own: string, plain: string])[];
  /** The architecture as which it is taken back: a translator is folded into the head. */
  readonly takenBackAs: ExitArchitecture;
  /** Why no model of the family computes this exit; null if one does. */
  refusal(model: { readonly spec: ModelSpec; readonly parameters: Parameters }, exit: ExitSpec): string | null;
}

export interface Architecture {
  /** Behind the exit layer, or between its attention and its MLP. */
  readonly at: Cut['at'];
  /** A layer of its own behind the cut, with keys and values of its own: it needs whole windows. */
  readonly hasBranch: boolean;
  /** Whether it has a linear map between its norm and its head. */
  readonly translates: boolean;
  /** What it trains but for its head, in the order in which it is stored. */
  modules(spec: ModelSpec, exit: ExitSpec): readonly OwnModule[];
  /** Modules of the model that it reads and never changes, but for the head. */
  reads(exit: ExitSpec): readonly string[];
  /** The state `[batch, tokens, hidden]` that its head reads, from the stream at its cut, or behind its branch. */
  state<T>(ops: Ops<T>, spec: ModelSpec, exit: ExitSpec, at: AtCut<T>): T;
  /** Null if no model of any family computes it; `reason` says why. */
  readonly plain: PlainForm | { readonly reason: string };
}

const layerModules = [
  'input_layernorm',
  'self_attn.q_proj',
  'self_attn.k_proj',
  'self_attn.v_proj',
  'self_attn.q_norm',
  'self_attn.k_norm',
  'self_attn.sinks',
  'self_attn.o_proj',
  'post_attention_layernorm',
  'pre_feedforward_layernorm',
  'mlp.gate_proj',
  'mlp.up_proj',
  'mlp.down_proj',
  'post_feedforward_layernorm',
];
const mlpModules = ['gate_proj', 'up_proj', 'down_proj'];
const mlpNorms = ['post_attention_layernorm', 'pre_feedforward_layernorm', 'post_feedforward_layernorm'];

const norm: OwnModule = { own: 'norm', copyOf: 'norm' };
const ownNorm = <T>(ops: Ops<T>, spec: ModelSpec, exit: ExitSpec, x: T): T =>
  ops.norm(x, `${exitPath(exit)}.norm`, spec.norm);

const plainNorm: PlainForm = {
  layersBehind: 0,
  modules: () => [['norm', 'norm']],
  takenBackAs: 'norm',
  refusal: () => null,
};

export const architectures: Readonly<Record<ExitArchitecture, Architecture>> = {
  lens: {
    at: 'end',
    hasBranch: false,
    translates: true,
    modules: () => [{ own: 'translator', copyOf: null }, norm],
    reads: () => [],
    state: (ops, spec, exit, { stream }) =>
      ops.linear(ownNorm(ops, spec, exit, stream.x), `${exitPath(exit)}.translator`),
    plain: plainNorm,
  },
  norm: {
    at: 'end',
    hasBranch: false,
    translates: false,
    modules: () => [norm],
    reads: () => [],
    state: (ops, spec, exit, { stream }) => ownNorm(ops, spec, exit, stream.x),
    plain: plainNorm,
  },
  mlp: {
    at: 'attention',
    hasBranch: false,
    translates: false,
    modules: (_, { layer }) => [
      ...mlpModules.map((name) => ({ own: `mlp.${name}`, copyOf: `${layerPath(layer)}.mlp.${name}` })),
      norm,
    ],
    reads: ({ layer }) => mlpNorms.map((name) => `${layerPath(layer)}.${name}`),
    state: (ops, spec, exit, { stream, input }) => {
      const path = `${exitPath(exit)}.mlp`;
      return ownNorm(ops, spec, exit, settle(ops, mlpHalf(ops, spec, stream, input, layerPath(exit.layer), { path })));
    },
    plain: {
      layersBehind: 0,
      modules: ({ layer }) => [
        ['norm', 'norm'],
        ['mlp', `${layerPath(layer)}.mlp`],
      ],
      takenBackAs: 'mlp',
      refusal: ({ spec }, { layer }) =>
        spec.layers[layer - 1]!.mixture
          ? `its MLP is dense, and layer ${layer} of this model is a mixture of experts`
          : null,
    },
  },
  layer: {
    at: 'end',
    hasBranch: true,
    translates: false,
    modules: ({ layers }) => [
      ...layerModules.map((name) => ({ own: `layer.${name}`, copyOf: `${layerPath(layers.length)}.${name}` })),
      norm,
    ],
    reads: () => [],
    state: (ops, spec, exit, { stream }) => ownNorm(ops, spec, exit, stream.x),
    plain: {
      layersBehind: 1,
      modules: ({ layer }) => [
        ['norm', 'norm'],
        ['layer', layerPath(layer + 1)],
      ],
      takenBackAs: 'layer',
      refusal: (model, { layer }) => {
        const { layers } = model.spec;
        if (layers.at(-1)!.mixture) return 'its layer is dense, and layers of this model are mixtures of experts';
        if (sharesNorm(model))
          return 'its layer has a norm for attention and one for the MLP, and layers of this family one for both';
        const own = layers[layer];
        const last = JSON.stringify(layers.at(-1));
        // Behind the last layer, where the place of a layer may decide what it is, all must be alike.
        if ((own ? [own] : layers).every((each) => JSON.stringify(each) === last)) return null;
        return own
          ? `its layer turns and looks as the model's last does, and layer ${layer + 1} of the model otherwise`
          : "its layer follows the model's last, and layers of this model differ by their places";
      },
    },
  },
  embedding: {
    at: 'end',
    hasBranch: false,
    translates: false,
    modules: () => [],
    reads: () => [],
    state: (_, __, ___, { stream }) => stream.x,
    plain: { reason: 'its head reads the stream without a norm, and every model of this family has one' },
  },
};

/** Whether attention and MLP, side by side, read one norm: a file of the family has it once. */
function sharesNorm({ spec, parameters }: { readonly spec: ModelSpec; readonly parameters: Parameters }): boolean {
  const gain = (name: string): Float32Array => parameters.values(`${layerPath(spec.layers.length)}.${name}.weight`);
  if (!spec.parallelResidual) return false;
  const [attention, mlp] = [gain('input_layernorm'), gain('post_attention_layernorm')];
  return attention.every((value, i) => value === mlp[i]);
}

/** The cut whose stream an exit reads. */
export const exitCut = ({ layer, architecture }: Pick<ExitSpec, 'layer' | 'architecture'>): Cut => ({
  layer,
  at: architectures[architecture].at,
});

/** Whether an exit has a layer of its own behind its cut: a branch of the stream, with keys and values of its own. */
export const hasBranch = ({ architecture }: ExitSpec): boolean => architectures[architecture].hasBranch;

/** Whether an exit has a place for what a fit finds: a translator, or a head of its own. */
export const isFitted = ({ architecture, head }: ExitSpec): boolean =>
  architectures[architecture].translates || head.kind !== 'shared';
