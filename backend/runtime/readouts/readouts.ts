/** Readouts out of what ggml's graphs give: the best classes, their logits and probabilities. Knows classes and tokens, no model. */
import { userError } from '../../../protocol/errors.ts';
import { mostCandidates } from '../../../protocol/options/decoding.ts';
import { shortlistOf, type ExitSpec } from '../../exits/spec.ts';
import type { BuiltGraph } from '../../ggml/graph.ts';
import type { Readout } from '../staged-model.ts';

/** How many candidates a readout carries; one more than shown, since a shortlist's defer class may be among them. */
export const candidateCount = mostCandidates + 1;

export const defer = -1;

/** The token of each class of an exit with a shortlist: the list, its defer class, and `common` tokens; null if classes are tokens. */
export function tokensOf(exit: ExitSpec | null, common: readonly number[] = []): readonly number[] | null {
  const list = shortlistOf(exit);
  return list && [...list, defer, ...common];
}

/**
 * A long row of logits is read in equal parts, which threads share. The results of the whole are put together here, so it
 * does not depend on how many threads there are.
 */
export const partsOf = (classes: number): number => (classes >= longRow && classes % 4 === 0 ? 4 : 1);

const longRow = 2 ** 14;

/** A class, or a token, and its logit. */
export interface Scored {
  readonly id: number;
  readonly score: number;
}

export interface Best extends Scored {
  readonly probability: number;
}

/** The outputs of a graph with `readouts` for one position. */
export interface Position {
  /** The best classes, best first; a shortlist's are tokens, its defer class −1. */
  readonly best: readonly Best[];
  /** The mean logit, by the probabilities. */
  readonly expected: number;
}

/** Unlisted tokens, whose classes are behind those of a shortlist: unlisted.ts. */
export interface ReadUnlisted {
  /** Their classes in the graph, as many for each position; it does not read the last ones. */
  readonly size: number;
  /** What each position reads. */
  readonly tokens: readonly (readonly number[])[];
}

/** The logit of a class that a position does not read: its probability is 0. */
export const unread = -1e9;

/** `listed`: the number of classes without unlisted tokens. @throws UserError if a position has no logit that is a number. */
export function positionsOf(
  graph: BuiltGraph,
  positions: number,
  toToken: readonly number[] | null,
  listed: number,
  unlisted: ReadUnlisted | null = null,
): Position[] {
  const classes = listed + (unlisted?.size ?? 0);
  const tokenOf = (id: number, p: number): number =>
    id >= listed ? unlisted!.tokens[p]![id - listed]! : toToken ? toToken[id]! : id;
  const parts = unlisted ? 1 : partsOf(classes);
  const each = classes / parts;
  const k = Math.min(candidateCount, each);
  const rows = positions * parts;
  const top = new Int32Array(rows * k);
  const scores = new Float32Array(rows * k);
  const probabilities = new Float32Array(rows * k);
  const expected = new Float32Array(rows);
  graph.get('top', top);
  graph.get('scores', scores);
  graph.get('probabilities', probabilities);
  graph.get('expected', expected);
  const classOf = (i: number): number => (Math.floor(i / k) % parts) * each + top[i]!;
  /** The higher score first; of equal ones the first class. Two probabilities that round to one do not change the order. */
  const byScore = (a: number, b: number): number => scores[b]! - scores[a]! || classOf(a) - classOf(b);
  return Array.from({ length: positions }, (_, p) => {
    const from = p * parts;
    const ordered = indices(from * k, parts * k).sort(byScore);
    const shares = sharesOf(
      indices(from, parts).map((row) => {
        const first = ordered.find((i) => Math.floor(i / k) === row)!;
        return logSum({ score: scores[first]!, probability: probabilities[first]! });
      }),
    );
    const best = ordered.slice(0, Math.min(candidateCount, classes)).filter((i) => scores[i]! > unread);
    if (best.length === 0) throw noNumbers();
    return {
      best: best.map((i) => ({
        id: tokenOf(classOf(i), p),
        score: scores[i]!,
        probability: probabilities[i]! * shares[Math.floor(i / k) - from]!,
      })),
      expected: shares.reduce((sum, share, part) => sum + share * expected[from + part]!, 0),
    };
  });
}

const noNumbers = (): Error =>
  userError(
    'bad-weights',
    "The model's logits are no numbers: its weights are damaged, or too large for this device.",
    'Check the model file, or choose --device cpu.',
  );

const indices = (from: number, count: number): number[] => Array.from({ length: count }, (_, i) => from + i);

/** The probability of each part, from its log Σ exp(logit). */
function sharesOf(logSums: readonly number[]): number[] {
  const most = Math.max(...logSums);
  const sum = logSums.reduce((total, one) => total + Math.exp(one - most), 0);
  return logSums.map((one) => Math.exp(one - most) / sum);
}

/** The same position with tokens that its graph did not read, at their share of the probability. */
export function joined({ best, expected }: Position, others: readonly Scored[]): Position {
  if (others.length === 0) return { best, expected };
  // The graph's classes together are one more part.
  const [share, ...shares] = sharesOf([logSum(best[0]!), ...others.map(({ score }) => score)]);
  const kept = best.map((one) => ({ ...one, probability: one.probability * share! }));
  const added = others.map((one, i): Best => ({ ...one, probability: shares[i]! }));
  return {
    best: [...kept, ...added].sort((a, b) => b.score - a.score || a.id - b.id).slice(0, best.length),
    expected: added.reduce((sum, { score, probability }) => sum + score * probability, share! * expected),
  };
}

export function readoutOf({ best, expected }: Position): Readout {
  const candidates = best.filter(({ id }) => id !== defer).map(({ id, probability }) => ({ id, probability }));
  const confidence = candidates[0]!.probability;
  return {
    token: best[0]!.id,
    confidence,
    margin: confidence - (candidates[1]?.probability ?? 0),
    // log Σ exp(logit) − Σ p · logit.
    entropy: logSum(best[0]!) - expected,
    candidates,
  };
}

/** log Σ exp(logit), from the best class. */
export const logSum = ({ score, probability }: Pick<Best, 'score' | 'probability'>): number =>
  score - Math.log(probability);

/**
 * Rows of logits over the vocabulary, −∞ for tokens that are not read; a shortlist's defer class has no place there. `others`: what each
 * position reads beside its graph.
 */
export function vocabularyRows(
  graph: BuiltGraph,
  positions: number,
  toToken: readonly number[] | null,
  vocabulary: number,
  unlisted: ReadUnlisted | null,
  others: readonly (readonly Scored[])[],
): Float32Array {
  const listed = toToken?.length ?? vocabulary;
  const classes = listed + (unlisted?.size ?? 0);
  const logits = new Float32Array(positions * classes);
  graph.get('logits', logits);
  if (!toToken) return logits;
  const all = new Float32Array(positions * vocabulary).fill(-Infinity);
  for (let p = 0; p < positions; p++) {
    const [from, to] = [p * classes, p * vocabulary];
    for (const [c, id] of toToken.entries()) if (id !== defer) all[to + id] = logits[from + c]!;
    for (const [n, id] of (unlisted?.tokens[p] ?? []).entries()) all[to + id] = logits[from + listed + n]!;
    for (const { id, score } of others[p]!) all[to + id] = score;
  }
  return all;
}
