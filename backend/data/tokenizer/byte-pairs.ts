/**
 * Byte-pair encoding of words (Sennrich et al. 2016, arXiv 1508.07909) in the place of @huggingface/tokenizers' own, which needs
 * 0.3 s for the merges of a vocabulary of 150,000. Knows texts and ranks, no file.
 */
import { BPE } from '@huggingface/tokenizers';
import { finish, type Steps } from '../steps.ts';
import { isPairs, type TokenizerFile } from './file.ts';

type Config = ConstructorParameters<typeof BPE>[0];

/** The library's model, empty, with tables of our own. */
export class BytePairs extends BPE {
  readonly #rankOf: RankOf;
  /** A long word that was merged in steps. */
  #prepared: { readonly word: string; readonly parts: string[] } | null = null;

  /** @throws TypeError if the vocabulary is no map, or merges are neither texts nor pairs of texts. */
  constructor({ vocab, ...model }: TokenizerFile['model']) {
    super({ ...(model as unknown as Config), vocab: {}, merges: [] });
    if (isPairs(vocab)) throw new TypeError('The vocabulary is no map.');
    this.tokens_to_ids = vocab as Map<string, number>;
    const unknown = vocab.get(this.unk_token ?? '');
    if (unknown !== undefined) this.unk_token_id = unknown;
    this.#rankOf = ranksOf(model['merges'] as Config['merges']);
  }

  override bpe(word: string): string[] {
    const known = this.cache.get(word);
    if (known !== undefined) return known;
    const merged = this.#prepared?.word === word ? this.#prepared.parts : finish(this.#merge(word));
    const suffix = this.continuing_subword_suffix;
    const result = suffix === null ? merged : merged.map((part, i) => (i < merged.length - 1 ? part + suffix : part));
    if (word.length < this.max_length_to_cache) this.cache.put(word, result);
    return result;
  }

  /** Merges a long word in steps; the next call of `bpe` is for this word and takes the result. */
  *prepare(word: string): Steps<void> {
    this.#prepared = { word, parts: yield* this.#merge(word) };
  }

  #merge(word: string): Steps<string[]> {
    const parts = Array.from(word);
    if (parts.length > 0 && this.end_of_word_suffix) parts[parts.length - 1] += this.end_of_word_suffix;
    return mergePairs(parts, this.#rankOf);
  }
}

type RankOf = (left: string, right: string) => number | undefined;

/** Rank of each merge. Older files and GGUF have a pair as the text `a b`; newer files have it as a pair. */
function ranksOf(merges: Config['merges']): RankOf {
  const ranks = new Map<string, number>();
  // The texts of a pair may contain spaces.
  const between = Array.isArray(merges[0]) ? '\0' : ' ';
  for (const [rank, merge] of (merges as readonly (string | readonly string[])[]).entries())
    ranks.set(typeof merge === 'string' ? merge : merge.join(between), rank);
  return (left, right) => ranks.get(left + between + right);
}

// A place in a word, and a rank before it, in one number that is exact: the lowest rank is first, then the leftmost place.
const places = 2 ** 30;
/** Places that are looked at in one step. */
const placesOfStep = 2048;

/**
 * Merges neighbours, those of the lowest rank first and the leftmost of several, until no pair has a rank.
 * Takes time n log n for `parts` of n texts, which it changes.
 */
export function* mergePairs(parts: string[], rankOf: RankOf): Steps<string[]> {
  const end = parts.length;
  const next = Int32Array.from(parts, (_, at) => at + 1);
  const previous = Int32Array.from(parts, (_, at) => at - 1);
  /** Rank of the pair that begins here; −1 if it is not merged. */
  const ranks = new Int32Array(end).fill(-1);
  const queue: number[] = [];
  const look = (at: number): void => {
    const rank = next[at]! < end ? rankOf(parts[at]!, parts[next[at]!]!) : undefined;
    ranks[at] = rank ?? -1;
    if (rank !== undefined) push(queue, rank * places + at);
  };
  for (let at = 0; at < end; at++) {
    look(at);
    if (at % placesOfStep === placesOfStep - 1) yield;
  }
  for (let taken = 1; queue.length > 0; taken++) {
    if (taken % placesOfStep === 0) yield;
    const first = pop(queue);
    const at = first % places;
    if (ranks[at] !== (first - at) / places) continue;
    const gone = next[at]!;
    parts[at] += parts[gone]!;
    ranks[gone] = -1;
    next[at] = next[gone]!;
    if (next[at] < end) previous[next[at]] = at;
    look(at);
    if (at > 0) look(previous[at]!);
  }
  const merged: string[] = [];
  for (let at = 0; at < end; at = next[at]!) merged.push(parts[at]!);
  return merged;
}

/** Adds a number to a heap whose smallest is first. */
function push(heap: number[], value: number): void {
  let at = heap.length;
  heap.push(value);
  while (at > 0) {
    const above = (at - 1) >> 1;
    if (heap[above]! <= value) break;
    heap[at] = heap[above]!;
    at = above;
  }
  heap[at] = value;
}

/** Takes the smallest number out of a heap that is not empty. */
function pop(heap: number[]): number {
  const smallest = heap[0]!;
  const value = heap.pop()!;
  const size = heap.length;
  if (size === 0) return smallest;
  let at = 0;
  for (let below = 1; below < size; below = 2 * at + 1) {
    if (below + 1 < size && heap[below + 1]! < heap[below]!) below++;
    if (heap[below]! >= value) break;
    heap[at] = heap[below]!;
    at = below;
  }
  heap[at] = value;
  return smallest;
}
