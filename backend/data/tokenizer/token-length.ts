/** How many ids a text has at least, found without encoding it. */
import type { TokenBytes } from './token-bytes.ts';
import { stepsOf, type JsonObject, type TokenizerFile } from './file.ts';

/** Most bytes of UTF-8 that canonical composition makes one of: the Kelvin sign, and three letters of Hangul. */
const composed = 3;

/**
 * A byte-level tokenizer keeps every byte of a text, so a text has at least its bytes ÷ the bytes of the longest token ids. If the
 * tokenizer removes something first (spaces around a marker, anything that a normaliser drops), no bound follows from the length.
 */
export function leastIdsOf(file: TokenizerFile, bytes: TokenBytes): (text: string) => number {
  const shrinks = shrinksBy(file);
  let longest: number | null = null;
  return (text) => {
    if (shrinks === Infinity) return 0;
    longest ??= bytes.longest();
    return Math.ceil(Buffer.byteLength(text) / (longest * shrinks));
  };
}

function shrinksBy({ normalizer, pre_tokenizer, added_tokens, decoder }: TokenizerFile): number {
  const keeps =
    decoder?.['type'] === 'ByteLevel' &&
    pre_tokenizer !== null &&
    stepsOf(pre_tokenizer, 'pretokenizers').every(keepsAll) &&
    added_tokens.every((token) => !('lstrip' in token && token.lstrip) && !('rstrip' in token && token.rstrip));
  if (!keeps) return Infinity;
  return normalizer === null ? 1 : normalizer['type'] === 'NFC' ? composed : Infinity;
}

const keepsAll = ({ type, behavior, invert }: JsonObject): boolean =>
  type === 'ByteLevel' ||
  type === 'Digits' ||
  (type === 'Split' && String(behavior).toLowerCase() !== 'removed' && invert !== true);
