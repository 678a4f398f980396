/** The final exit's scores of a prompt's own tokens, piece by piece during prefill. */
import { best, logProbabilities } from '../sampling/sampler.ts';
import type { TextCodec } from '../text.ts';

/** Of one token, by all before it. */
export interface PromptScore {
  /** Nats. */
  readonly logProbability: number;
  /** The most probable tokens in its place. */
  readonly alternatives: readonly { readonly id: number; readonly text: string; readonly logProbability: number }[];
}

export interface PromptScorer {
  /** Logits of the next positions `[positions, vocabulary]`, from the first on. */
  take(logits: Float32Array, vocabulary: number): void;
  /** Of the second token, the third … */
  scores(): readonly PromptScore[];
}

export function newPromptScorer(prompt: readonly number[], alternatives: number, codec: TextCodec): PromptScorer {
  const scores: PromptScore[] = [];
  return {
    take(logits, vocabulary) {
      for (let at = 0; at < logits.length; at += vocabulary) {
        // The last token predicts the first token of the text.
        if (scores.length === prompt.length - 1) return;
        const row = logits.subarray(at, at + vocabulary);
        const others = best(row, alternatives);
        const [own, ...rest] = logProbabilities(row, [prompt[scores.length + 1]!, ...others]);
        scores.push({
          logProbability: own!,
          alternatives: others.map((id, i) => ({ id, text: codec.tokenText(id), logProbability: rest[i]! })),
        });
      }
    },
    scores: () => scores,
  };
}
