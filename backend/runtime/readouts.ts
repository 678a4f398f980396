/** Readouts out of what ggml's graphs give: the best classes, their logits and probabilities. Knows classes and tokens, no model. */
import { mostCandidates } from '../../protocol/options-decoding.ts';
import type { BuiltGraph } from '../ggml/graph.ts';
import type { Readout } from './staged-model.ts';

/** How many candidates a readout carries; one more than shown, since a shortlist's defer class may be among them. */
export const candidateCount = mostCandidates + 1;

const defer = -1;

export interface Best {
  readonly id: number;
  readonly score: number;
  readonly probability: number;
}

/** The best classes of each position, best first, of a graph with `readouts`; a shortlist's are tokens, the last of them −1. */
export function bestOf(
  graph: BuiltGraph,
  positions: number,
  toToken: readonly number[] | null,
  classes: number,
): Best[][] {
  const k = Math.min(candidateCount, classes);
  const top = new Int32Array(positions * k);
  const scores = new Float32Array(positions * k);
  const probabilities = new Float32Array(positions * k);
  graph.get('top', top);
  graph.get('scores', scores);
  graph.get('probabilities', probabilities);
  return Array.from({ length: positions }, (_, p) => {
    const all = Array.from({ length: k }, (_, i) => {
      const at = p * k + i;
      return { class: top[at]!, score: scores[at]!, probability: probabilities[at]! };
    });
    // Two probabilities that round to one do not change the order; of equal logits the first class wins.
    all.sort((a, b) => b.score - a.score || a.class - b.class);
    return all.map(({ class: id, score, probability }) => ({ id: toToken ? toToken[id]! : id, score, probability }));
  });
}

export function readoutsFrom(
  graph: BuiltGraph,
  positions: number,
  toToken: readonly number[] | null,
  vocabulary: number,
): Readout[] {
  const expected = new Float32Array(positions);
  graph.get('expected', expected);
  return bestOf(graph, positions, toToken, toToken?.length ?? vocabulary).map((best, p) => {
    const candidates = best.filter(({ id }) => id !== defer).map(({ id, probability }) => ({ id, probability }));
    const confidence = candidates[0]!.probability;
    return {
      token: best[0]!.id,
      confidence,
      margin: confidence - (candidates[1]?.probability ?? 0),
      // log Σ exp(logit) − Σ p · logit.
      entropy: logSum(best[0]!) - expected[p]!,
      candidates,
    };
  });
}

/** log Σ exp(logit), from the best class. */
export const logSum = ({ score, probability }: Best): number => score - Math.log(probability);

/** Rows of logits over the vocabulary, −∞ outside a shortlist; its defer class has no place there. */
export function vocabularyRows(
  graph: BuiltGraph,
  positions: number,
  toToken: readonly number[] | null,
  vocabulary: number,
): Float32Array {
  const classes = toToken?.length ?? vocabulary;
  const logits = new Float32Array(positions * classes);
  graph.get('logits', logits);
  return toVocabulary(logits, toToken, vocabulary);
}

/** Rows over a shortlist → rows over the vocabulary. */
export function toVocabulary(
  logits: Float32Array,
  toToken: readonly number[] | null,
  vocabulary: number,
): Float32Array {
  if (!toToken) return logits;
  const classes = toToken.length;
  const rows = logits.length / classes;
  const all = new Float32Array(rows * vocabulary).fill(-Infinity);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < classes - 1; c++) all[r * vocabulary + toToken[c]!] = logits[r * classes + c]!;
  }
  return all;
}
