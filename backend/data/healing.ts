/**
 * Token healing: tokens do not end where somebody stopped typing. A prompt that ends in blanks or inside a word is taken back to where
 * its last tokens began, and what is written must begin with what was taken off, so that the model says how it goes on in tokens of its
 * own. Pure; knows ids and bytes, no model. After "Tokenization bias at the prompt's end" as guidance (github.com/guidance-ai) mends it.
 */
import { emptyMask, putInMask, type Allowed } from './allowed.ts';

/** The tokens of a vocabulary by what they say. */
export interface TokenIndex {
  /** Bytes of a token. */
  bytesOf(id: number): Uint8Array;
  /** Ordinary tokens that begin with these bytes, or are a beginning of them. */
  fitting(bytes: Uint8Array): readonly number[];
}

/** What a text must begin with, and the tokens that can say it. */
export interface Begun {
  readonly bytes: Uint8Array;
  readonly tokens: TokenIndex;
}

export interface HealedPrompt {
  readonly ids: readonly number[];
  /** Null where the prompt ends well. */
  readonly begun: Begun | null;
}

/** Letters of scripts that put no blanks between words: where a word ends is not to be seen. */
const unspaced =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u;
/** Longer runs are no word and no indent: their end alone is taken off. */
const longest = 64;
const openEnd = new RegExp(`(?:\\s{1,${longest}}|[\\p{L}\\p{N}\\p{M}_$]{1,${longest}})$`, 'u');

/** Length of the blanks, or of the word, that a text ends with, in bytes of UTF-8; 0 where it ends with neither. */
export function openLength(text: string): number {
  const found = openEnd.exec(text)?.[0] ?? '';
  return unspaced.test(found) ? 0 : Buffer.byteLength(found);
}

/**
 * Takes tokens off the end of a prompt until none of its last blanks or its last word is left. `fixed`: how many first tokens stay; so do
 * all up to the last special one.
 */
export function healed(
  ids: readonly number[],
  tokens: TokenIndex & { isOrdinary(id: number): boolean },
  fixed = 1,
): HealedPrompt {
  const whole: HealedPrompt = { ids, begun: null };
  const least = Math.max(fixed, 1 + ids.findLastIndex((id) => !tokens.isOrdinary(id)));
  // Enough of the end to hold the longest run.
  const end = ids.slice(Math.max(least, ids.length - 4 * longest)).map((id) => tokens.bytesOf(id));
  let open = openLength(Buffer.concat(end).toString('utf8'));
  const taken: Uint8Array[] = [];
  while (end.length > 0 && (open > 0 || (taken.length > 0 && isInsideCharacter(taken[0]!)))) {
    const last = end.pop()!;
    taken.unshift(last);
    open -= last.length;
  }
  if (taken.length === 0 || isInsideCharacter(taken[0]!)) return whole;
  const bytes = Uint8Array.from(Buffer.concat(taken));
  return { ids: ids.slice(0, ids.length - taken.length), begun: { bytes, tokens } };
}

/** What a text may say while it repeats what was taken off its prompt; then anything. */
export function sayingAgain({ bytes, tokens }: Begun): Allowed {
  let mask: Uint32Array | null | undefined;
  const made = (): Uint32Array | null => {
    const ids = tokens.fitting(bytes);
    if (ids.length === 0) return null;
    const all = emptyMask(1 + ids.reduce((most, id) => Math.max(most, id), 0));
    for (const id of ids) putInMask(all, id);
    return all;
  };
  return {
    allows: (id) => fits(bytes, tokens.bytesOf(id)),
    mask: () => (mask === undefined ? (mask = made()) : mask),
    after(id) {
      const said = tokens.bytesOf(id);
      const isWhole = said.length >= bytes.length || !fits(bytes, said);
      return isWhole ? null : sayingAgain({ tokens, bytes: leftBehind(bytes, said) });
    },
    end: null,
  };
}

/** What is left of a beginning behind a token that fits; empty where the token says all of it. */
export const leftBehind = (bytes: Uint8Array, token: Uint8Array): Uint8Array => bytes.subarray(token.length);

/** Whether a token says a beginning of these bytes, or all of them and more. */
export function fits(bytes: Uint8Array, token: Uint8Array): boolean {
  const common = Math.min(bytes.length, token.length);
  for (let i = 0; i < common; i++) if (bytes[i] !== token[i]) return false;
  return token.length > 0;
}

const isInsideCharacter = (bytes: Uint8Array): boolean => bytes.length > 0 && (bytes[0]! & 0xc0) === 0x80;
