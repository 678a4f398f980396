/** What tuning cost, as operations and as a share of what the model's own training took. Pure. */

/** Numbers that a run computes with, embeddings left out. */
export interface ModelNumbers {
  /** Of the backbone, as far as a token goes through it. */
  readonly backbone: number;
  /** Of the whole model. */
  readonly whole: number;
  /** That are trained. */
  readonly trained: number;
}

/**
 * Floating-point operations of products of matrices: two for a number and token forwards, four more backwards if it is trained; attention
 * itself is left out. States that are read from the cache are counted as if they were computed.
 */
export const tuningFlops = ({ backbone, trained }: ModelNumbers, tokens: number): number =>
  (2 * backbone + 6 * trained) * tokens;

/** Six operations for a number and token, as Kaplan et al. count them (arXiv 2001.08361). */
export const trainingFlops = ({ whole }: ModelNumbers, tokens: number): number => 6 * whole * tokens;

/** Tokens of their own training, as who trained them says: the first name that a model's begins with. */
const trainedOn: readonly (readonly [name: RegExp, tokens: number])[] = [
  [/^typescript-5m/, 15.4e6],
  // arXiv 2502.02737.
  [/^smollm2-135m/i, 2e12],
  // arXiv 2409.12186: 5.5 trillion on top of Qwen2.5's 18 (arXiv 2412.15115).
  [/^qwen2\.5-coder/i, 23.5e12],
  [/^qwen2\.5/i, 18e12],
  // arXiv 2307.09288.
  [/^llama-2/i, 2e12],
];

/** Null of a model that the table does not know. */
export const pretrainingTokens = (model: string): number | null =>
  trainedOn.find(([name]) => name.test(model.replace(/^.*\//, '')))?.[1] ?? null;
