/** Readouts out of what ggml's graphs give: the best classes, their logits and probabilities. Knows classes and tokens, no model. */
import { mostCandidates } from '../../protocol/options-decoding.ts';
import type { ExitSpec } from '../exits/spec.ts';
import type { BuiltGraph } from '../ggml/graph.ts';
import type { Readout } from './staged-model.ts';

/** How many candidates a readout carries; one more than shown, since a shortlist's defer class may be among them. */
export const candidateCount = mostCandidates + 1;

const defer = -1;

/** The token of each class of an exit with a shortlist, its defer class last; null if classes are tokens. */
export const tokensOf = (exit: ExitSpec | null): readonly number[] | null =>
  exit?.head.kind === 'shortlist' ? [...exit.head.tokens, defer] : null;

/**
 * A long row of logits is read in equal parts, which threads share. The results of the whole are put together here, so it
 * does not depend on how many threads there are.
 */
export const partsOf = (classes: number): number => (classes >= longRow && classes % 4 === 0 ? 4 : 1);

const longRow = 2 ** 14;

export interface Best {
  readonly id: number;
  readonly score: number;
  readonly probability: number;
}

/** The outputs of a graph with `readouts` for one position. */
export interface Position {
  /** The best classes, best first; a shortlist's are tokens, the last of them −1. */
  readonly best: readonly Best[];
  /** The mean logit. */
  readonly expected: number;
}

/** Unlisted tokens that a graph reads beside the classes of a shortlist: unlisted.ts. */
export interface ReadUnlisted {
  /** For how many the graph is. */
  readonly size: number;
  /** How many a position reads. */
  readonly counts: readonly number[];
  /** Those of its row, those that it reads first. */
  of(position: number): readonly number[];
}

/** What the outputs of their readouts are called, before their own names. */
export const unlistedPrefix = 'unlisted ';
/** The logit of a class that a position does not read: its probability is 0. */
export const unread = -1e9;

export function positionsOf(
  graph: BuiltGraph,
  positions: number,
  toToken: readonly number[] | null,
  classes: number,
  unlisted: ReadUnlisted | null = null,
): Position[] {
  const listed = partsRead(graph, positions, classes, 0, '');
  const parts = unlisted ? [...listed, ...partsRead(graph, positions, unlisted.size, classes, unlistedPrefix)] : listed;
  const tokenOf = (id: number, p: number): number =>
    id >= classes ? unlisted!.of(p)[id - classes]! : toToken ? toToken[id]! : id;
  return Array.from({ length: positions }, (_, p) => {
    const found = parts.map((part) => part(p));
    const shares = sharesOf(found.map(({ best }) => logSum(best[0]!)));
    const best = found
      .flatMap((part, i) => part.best.map((one) => ({ ...one, probability: one.probability * shares[i]! })))
      .filter(({ score }) => score > unread)
      .sort(byScore)
      .slice(0, Math.min(candidateCount, classes));
    return {
      best: best.map((one) => ({ ...one, id: tokenOf(one.id, p) })),
      expected: shares.reduce((sum, share, i) => sum + share * found[i]!.expected, 0),
    };
  });
}

/** The parts of a graph's `readouts`, by position; classes are counted from `first` on. */
function partsRead(
  graph: BuiltGraph,
  positions: number,
  classes: number,
  first: number,
  prefix: string,
): ((position: number) => Position)[] {
  const parts = partsOf(classes);
  const each = classes / parts;
  const k = Math.min(candidateCount, each);
  const rows = positions * parts;
  const top = new Int32Array(rows * k);
  const scores = new Float32Array(rows * k);
  const probabilities = new Float32Array(rows * k);
  const expected = new Float32Array(rows);
  graph.get(`${prefix}top`, top);
  graph.get(`${prefix}scores`, scores);
  graph.get(`${prefix}probabilities`, probabilities);
  graph.get(`${prefix}expected`, expected);
  return Array.from({ length: parts }, (_, part) => (position: number): Position => {
    const row = position * parts + part;
    const best = Array.from({ length: k }, (__, i): Best => {
      const at = row * k + i;
      return { id: first + part * each + top[at]!, score: scores[at]!, probability: probabilities[at]! };
    });
    return { best: best.sort(byScore), expected: expected[row]! };
  });
}

/** Two probabilities that round to one do not change the order; of equal logits the first class wins. */
const byScore = (a: Best, b: Best): number => b.score - a.score || a.id - b.id;

/** The probability of each part, from its log Σ exp(logit). */
function sharesOf(logSums: readonly number[]): number[] {
  const most = Math.max(...logSums);
  const sum = logSums.reduce((total, one) => total + Math.exp(one - most), 0);
  return logSums.map((one) => Math.exp(one - most) / sum);
}

export function readoutsFrom(
  graph: BuiltGraph,
  positions: number,
  toToken: readonly number[] | null,
  vocabulary: number,
  unlisted: ReadUnlisted | null,
): Readout[] {
  return positionsOf(graph, positions, toToken, toToken?.length ?? vocabulary, unlisted).map(({ best, expected }) => {
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
  });
}

/** log Σ exp(logit), from the best class. */
export const logSum = ({ score, probability }: Best): number => score - Math.log(probability);

/** Rows of logits over the vocabulary, −∞ for tokens that are not read; a shortlist's defer class has no place there. */
export function vocabularyRows(
  graph: BuiltGraph,
  positions: number,
  toToken: readonly number[] | null,
  vocabulary: number,
  unlisted: ReadUnlisted | null,
): Float32Array {
  const classes = toToken?.length ?? vocabulary;
  const logits = new Float32Array(positions * classes);
  graph.get('logits', logits);
  if (!toToken) return logits;
  const all = new Float32Array(positions * vocabulary).fill(-Infinity);
  for (let p = 0; p < positions; p++) {
    for (let c = 0; c < classes - 1; c++) all[p * vocabulary + toToken[c]!] = logits[p * classes + c]!;
  }
  if (!unlisted) return all;
  const others = new Float32Array(positions * unlisted.size);
  graph.get(`${unlistedPrefix}logits`, others);
  for (let p = 0; p < positions; p++) {
    const ids = unlisted.of(p);
    for (let n = 0; n < unlisted.counts[p]!; n++) all[p * vocabulary + ids[n]!] = others[p * unlisted.size + n]!;
  }
  return all;
}
