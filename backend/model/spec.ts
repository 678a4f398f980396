/**
 * What a decoder-only model is, as data. A family (families/) makes a `ModelSpec` out of a Hugging Face config or of
 * GGUF metadata; the layer (layer.ts) is written once over it. Nothing here knows where weights are stored or run.
 */

/** `rms`: x / rms(x) · (gain + unitOffset). `layer`: LayerNorm with gain, and bias if there is one. */
export interface NormSpec {
  readonly kind: 'rms' | 'layer';
  readonly epsilon: number;
  /** Gemma stores gain − 1. */
  readonly unitOffset: 0 | 1;
}

export type Activation = 'silu' | 'gelu' | 'gelu_tanh';

/** Rotary position embedding of one kind of layer; angles are `position · inverseFrequencies[j]`. */
export interface RopeSpec {
  readonly name: string;
  /** Rotated dimensions of each head; the rest pass through (partial rotary). */
  readonly dimensions: number;
  /** Length `dimensions / 2`; any scaling (llama3, YaRN) is already in it. */
  readonly inverseFrequencies: readonly number[];
  /** Factor on cosines and sines: the attention factor of YaRN and longrope. */
  readonly scale: number;
  /** Texts of more than `beyond` positions are rotated by these frequencies, from their first token on (longrope). */
  readonly long: { readonly beyond: number; readonly inverseFrequencies: readonly number[] } | null;
  /** A further factor 1 + beta · ln(1 + ⌊position / original⌋) on cosines and sines (the queries of Ministral 3). */
  readonly growth: { readonly beta: number; readonly original: number } | null;
}

/** The frequencies by which a text with this number of positions is rotated. */
export const ropeFrequencies = ({ inverseFrequencies, long }: RopeSpec, positions: number): readonly number[] =>
  long && positions > long.beyond ? long.inverseFrequencies : inverseFrequencies;

/** Number of positions beyond which a text is rotated by other frequencies, from its first token on; null if there is none. */
export const longerThan = ({ layers }: ModelSpec): number | null =>
  layers.find(({ rope }) => rope?.long)?.rope?.long?.beyond ?? null;

/** Whether angles depend on the text's length, or their factor on the position. */
export const variesInText = ({ long, growth }: RopeSpec): boolean => long !== null || growth !== null;

/** The factor on cosines and sines of one position. */
export const ropeFactor = ({ scale, growth }: RopeSpec, position: number): number =>
  growth ? scale * (1 + growth.beta * Math.log(1 + Math.floor(position / growth.original))) : scale;

/**
 * A mixture of experts: a router, `gate`, scores all experts for a token, and the best `chosen` of them compute. What they give is
 * weighted and summed.
 */
export interface MixtureSpec {
  readonly experts: number;
  readonly chosen: number;
  /** Width of one expert, a gated MLP. */
  readonly feedForward: number;
  /** Weights are a softmax over the scores of all experts, or (`true`) over those of the chosen, which sum to 1. */
  readonly normalised: boolean;
  /** Width of an expert that computes for every token, times the sigmoid of a gate of its own (Qwen 2). */
  readonly shared: number | null;
  /** (min(up, limit) + 1) · g · sigmoid(1.702 g), g = min(gate, limit), instead of activation(gate) · up (gpt-oss). */
  readonly limit: number | null;
}

/** What differs from layer to layer. */
export interface LayerSpec {
  readonly rope: RopeSpec | null;
  /** The rotation of queries, if it differs from that of keys. */
  readonly queryRope?: RopeSpec;
  /** Keys further back than this many positions (the own one counted) are not seen. */
  readonly window: number | null;
  /** Replaces the dense MLP, if present. */
  readonly mixture?: MixtureSpec;
}

/** The layer with a dense MLP. */
export const denseLayer = ({ rope, queryRope, window }: LayerSpec): LayerSpec => ({
  rope,
  window,
  ...(queryRope && { queryRope }),
});

export interface ModelSpec {
  readonly family: string;
  readonly vocabulary: number;
  readonly hidden: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDimensions: number;
  /** Width of a dense MLP. */
  readonly feedForward: number;
  readonly contextLength: number;
  readonly layers: readonly LayerSpec[];
  readonly norm: NormSpec;
  /** `pre`: x + f(norm(x)). `post`: x + norm(f(x)) (OLMo 2). `sandwich`: x + norm(f(norm(x))) (Gemma). */
  readonly normPlacement: 'pre' | 'post' | 'sandwich';
  /** Attention and MLP both read the layer's input (GPT-NeoX, Phi); they may share one norm. */
  readonly parallelResidual: boolean;
  readonly mlp: 'gated' | 'plain';
  readonly activation: Activation;
  /** Norm on q and k before the rotation: over each head, with one gain or a gain for each (`heads`); or over all together (OLMo 2). */
  readonly qkNorm: 'none' | 'head' | 'heads' | 'all';
  readonly attentionScale: number;
  readonly attentionSoftcap: number | null;
  /** A score of each head joins the softmax, and its share is dropped (gpt-oss): parameter `self_attn.sinks.weight`. */
  readonly attentionSinks: boolean;
  readonly finalSoftcap: number | null;
  /** Factor on what attention and MLP add to the stream (Granite). */
  readonly residualScale: number;
  /** Factor on all logits, applied to the state that a head reads (Granite, Command R). */
  readonly logitScale: number;
  /** Factor on the token embedding (Gemma: √hidden). */
  readonly embeddingScale: number;
  /** Learned absolute positions are added to the embedding (GPT-2), as parameter `embed_positions.weight`. */
  readonly learnedPositions: boolean;
  /** `lm_head` is the embedding table. */
  readonly tied: boolean;
}

/**
 * A place in the residual stream, layers counted from 1. `end`: after layer `layer`. `attention`: in layer `layer`
 * between attention and MLP. `{layer: 0, at: 'end'}` is the embedding.
 */
export interface Cut {
  readonly layer: number;
  readonly at: 'attention' | 'end';
}

/** Whether some of its layers are mixtures of experts. */
export const isMixture = ({ layers }: ModelSpec): boolean => layers.some(({ mixture }) => mixture !== undefined);

export const cutName = (cut: Cut): string => `${cut.layer}.${cut.at}`;

/** Orders cuts along the stream. */
export const compareCuts = (a: Cut, b: Cut): number =>
  a.layer - b.layer || Number(a.at === 'end') - Number(b.at === 'end');

export const inputCut: Cut = { layer: 0, at: 'end' };
export const finalCut = (spec: ModelSpec): Cut => ({ layer: spec.layers.length, at: 'end' });

/**
 * Width of the stream at a cut. In a parallel-residual layer the MLP reads the layer's input, so at its `attention`
 * cut that input travels beside the stream: `[stream, input]`.
 */
export const cutWidth = (spec: ModelSpec, cut: Cut): number =>
  cut.at === 'attention' && spec.parallelResidual ? 2 * spec.hidden : spec.hidden;
