/**
 * Token healing: tokens do not end where a person stops typing. If a prompt ends in blanks or inside a word, it is taken back to the
 * beginning of its last tokens, and the text must begin with what was taken off, in tokens that the model chooses. Pure; knows ids and
 * bytes, no model. After "Tokenization bias at the prompt's end" as guidance (github.com/guidance-ai) mends it.
 */
import { emptyMask, putInMask, type Allowed } from './allowed.ts';

/** The tokens of a vocabulary by their bytes. */
export interface TokenIndex {
  /** Bytes of a token. */
  bytesOf(id: number): Uint8Array;
  /** Ordinary tokens that begin with these bytes, or are a beginning of them. */
  fitting(bytes: Uint8Array): readonly number[];
}

/** The bytes with which a text must begin, and the tokens that can spell them. */
export interface Begun {
  readonly bytes: Uint8Array;
  readonly tokens: TokenIndex;
}

export interface HealedPrompt {
  readonly ids: readonly number[];
  /** Null if nothing has to be taken off the prompt. */
  readonly begun: Begun | null;
}

/** Letters of scripts without blanks between words: the end of a word is not visible. */
const unspaced =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u;
/** Longer runs are no word and no indent: their end alone is taken off. */
const longest = 64;
const openEnd = new RegExp(`(?:\\s{1,${longest}}|[\\p{L}\\p{N}\\p{M}_$]{1,${longest}})$`, 'u');

/** Length of the blanks, or of the word, at the end of a text, in bytes of UTF-8; 0 if it ends with neither. */
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
  // Long enough to contain the longest run.
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

/** The allowed tokens while a text repeats what was taken off its prompt; then all. */
export function respelling({ bytes, tokens }: Begun): Allowed {
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
      const own = tokens.bytesOf(id);
      const isWhole = own.length >= bytes.length || !fits(bytes, own);
      return isWhole ? null : respelling({ tokens, bytes: leftBehind(bytes, own) });
    },
    end: null,
  };
}

/** The rest of a beginning after a token that fits; empty if the token spells all of it. */
export const leftBehind = (bytes: Uint8Array, token: Uint8Array): Uint8Array => bytes.subarray(token.length);

/** Whether a token spells a beginning of these bytes, or all of them and more. */
export function fits(bytes: Uint8Array, token: Uint8Array): boolean {
  const common = Math.min(bytes.length, token.length);
  for (let i = 0; i < common; i++) if (bytes[i] !== token[i]) return false;
  return token.length > 0;
}

const isInsideCharacter = (bytes: Uint8Array): boolean => bytes.length > 0 && (bytes[0]! & 0xc0) === 0x80;
