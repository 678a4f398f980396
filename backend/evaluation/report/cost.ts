/** The cost of tuning in operations, and as a share of the model's own training. Pure. */
import type { ModelNumbers } from '../../checkpoint/state.ts';

/**
 * Floating-point operations of products of matrices: two for a number and token forwards, four more backwards if it is trained; attention
 * itself is left out. States that are read from the cache are counted as if they were computed.
 */
export const tuningFlops = ({ backbone, trained }: ModelNumbers, tokens: number): number =>
  (2 * backbone + 6 * trained) * tokens;

/** Six operations for a parameter and token, as in Kaplan et al. (arXiv 2001.08361). */
export const trainingFlops = ({ whole }: ModelNumbers, tokens: number): number => 6 * whole * tokens;

/** Tokens of the models' own training, as their authors give them; the first pattern that a name matches counts. */
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

/** Null if the table does not know the model. */
export const pretrainingTokens = (model: string): number | null =>
  trainedOn.find(([name]) => name.test(model.replace(/^.*\//, '')))?.[1] ?? null;
