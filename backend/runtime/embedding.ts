/** What enters a model: rows of its embedding table, read from the file as they are wanted. */
import type { Parameters } from '../model/parameters.ts';
import type { ModelSpec } from '../model/spec.ts';

/** Token embeddings `[ids.length, hidden]`, scaled, with learned positions if the model has them. */
export function embed(
  spec: ModelSpec,
  parameters: Parameters,
  ids: ArrayLike<number>,
  positions: ArrayLike<number>,
): Float32Array {
  const rows = parameters.rows('embed_tokens.weight', ids);
  if (spec.embeddingScale !== 1) for (let i = 0; i < rows.length; i++) rows[i]! *= Math.fround(spec.embeddingScale);
  if (spec.learnedPositions) {
    const learned = parameters.rows('embed_positions.weight', positions);
    for (let i = 0; i < rows.length; i++) rows[i]! += learned[i]!;
  }
  return rows;
}
