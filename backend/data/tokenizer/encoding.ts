/**
 * Encoding in steps. The library encodes a text as a whole; here its own parts run one after the other, a few hundred words at a time,
 * so that something else can be done while a long text is encoded. The ids are the library's.
 */
import { SequencePreTokenizer, SplitPreTokenizer, type Tokenizer as Encoder } from '@huggingface/tokenizers';
import { BytePairs } from './byte-pairs.ts';
import type { Steps } from '../steps.ts';

/** Ids of a text; undefined for a token without an id. Yields their number so far. */
export type StepEncoder = (text: string, addSpecial: boolean) => Steps<(number | undefined)[], number>;

/** Words of one step, and characters. A longer word is merged in steps of its own. */
const wordsOfStep = 256;
const charactersOfStep = 8192;

/** A part of a text between two added tokens, normalised. */
interface Plain {
  readonly text: string;
  /** Index among the parts, which pre-tokenizers need. */
  readonly options: object;
}

/** What of the library's tokenizer is not in its types. */
interface Inner {
  encode_text(text: string): (string | Plain)[];
  readonly added_tokens_map: ReadonlyMap<string, { readonly id: number }>;
}

type PreTokenizer = NonNullable<Encoder['pre_tokenizer']>;

export function stepEncoder(encoder: Encoder): StepEncoder {
  const model = encoder.model!;
  const chain = chainOf(encoder.pre_tokenizer);
  // Without these two, it finds added tokens and normalises the text between them, which takes no time.
  const divider = Object.assign(Object.create(encoder) as Inner, {
    pre_tokenizer: (text: string, options: object): Plain[] => [{ text, options }],
    model: (parts: Plain[]): Plain[] => parts,
  });
  const { added_tokens_map: added } = encoder as unknown as Inner;
  const idOf = (token: string): number | undefined =>
    added.get(token)?.id ?? model.tokens_to_ids.get(token) ?? model.unk_token_id;
  const isUnknown = (token: string): boolean =>
    (model.tokens_to_ids.get(token) ?? model.unk_token_id) === model.unk_token_id;
  /** Ids that are added before and after those of a text. */
  const around = (addSpecial: boolean): (number | undefined)[][] => {
    const text = '';
    const tokens = encoder.post_processor?.([text], null, addSpecial).tokens ?? [text];
    const at = tokens.indexOf(text);
    return [tokens.slice(0, at).map(idOf), tokens.slice(at + 1).map(idOf)];
  };

  return function* (text, addSpecial) {
    const [before, behind] = around(addSpecial);
    const ids = [...before!];
    for (const part of divider.encode_text(text)) {
      if (typeof part === 'string') {
        ids.push(idOf(part));
        continue;
      }
      let follows = false;
      for (const words of wordsOf(chain, part)) {
        for (const word of words) {
          if (word.length <= charactersOfStep || !(model instanceof BytePairs)) continue;
          const merging = model.prepare(word);
          while (!merging.next().done) yield ids.length;
        }
        for (const token of model.encode(words)) {
          const isFused = model.fuse_unk && isUnknown(token);
          // A run of unknown tokens is one token, however long it is.
          if (!(isFused && follows)) ids.push(idOf(token));
          follows = isFused;
        }
        yield ids.length;
      }
    }
    for (const id of behind!) ids.push(id);
    return ids;
  };
}

/** Sequences within sequences, one after the other. */
const chainOf = (pre: PreTokenizer | null): PreTokenizer[] =>
  pre === null ? [] : pre instanceof SequencePreTokenizer ? pre.tokenizers.flatMap(chainOf) : [pre];

/** Words of a text, some at a time: each pre-tokenizer takes them as the one before it makes them. */
const wordsOf = (chain: readonly PreTokenizer[], { text, options }: Plain): Iterable<string[]> =>
  chain.reduce<Iterable<string[]>>(
    (batches, pre) => batched(isSplit(pre) ? pieces(batches, pre.pattern) : mapped(batches, pre, options)),
    [[text]],
  );

function* mapped(batches: Iterable<string[]>, pre: PreTokenizer, options: object): Iterable<string[]> {
  for (const words of batches) yield pre.pre_tokenize(words, options);
}

/** One that cuts at every match and keeps all: as the library does, match by match. */
const isSplit = (pre: PreTokenizer): pre is SplitPreTokenizer & { readonly pattern: RegExp } =>
  pre instanceof SplitPreTokenizer &&
  pre.pattern !== null &&
  !pre.config.invert &&
  pre.config.behavior?.toLowerCase() !== 'removed';

function* pieces(batches: Iterable<string[]>, pattern: RegExp): Iterable<string[]> {
  for (const words of batches)
    for (const word of words) {
      let found: string[] = [];
      let end = 0;
      for (const { 0: match, index } of word.matchAll(pattern)) {
        if (end < index) found.push(word.slice(end, index));
        if (match.length > 0) found.push(match);
        end = index + match.length;
        if (found.length < wordsOfStep) continue;
        yield found;
        found = [];
      }
      if (end < word.length) found.push(word.slice(end));
      yield found;
    }
}

/** Small batches become one, large ones several. */
function* batched(batches: Iterable<string[]>): Iterable<string[]> {
  let batch: string[] = [];
  let characters = 0;
  for (const words of batches)
    for (const word of words) {
      batch.push(word);
      characters += word.length;
      if (batch.length < wordsOfStep && characters < charactersOfStep) continue;
      yield batch;
      [batch, characters] = [[], 0];
    }
  if (batch.length > 0) yield batch;
}
