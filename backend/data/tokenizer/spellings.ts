/** Other spellings of a token's word: tokens that have another sign before it, or other capitals. Knows texts and ids, no model. */

/** What tokens have before a word: nothing, a blank, or one sign. */
const befores = ['', ' ', '\t', ...'!"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~'];
const wordOfToken = /^[^\p{L}\p{N}]?([\p{L}\p{N}][\p{L}\p{N}_]*)$/u;

/** The tokens that spell the word of a token's text otherwise; none if the text is more or less than a word behind at most one sign. */
export function otherSpellings(text: string, idOf: (text: string) => number | undefined): number[] {
  const word = wordOfToken.exec(text)?.[1];
  if (word === undefined) return [];
  const [first, rest] = [word.slice(0, 1), word.slice(1)];
  const words = new Set([
    word,
    word.toLowerCase(),
    word.toUpperCase(),
    first.toUpperCase() + rest,
    first.toLowerCase() + rest,
    first.toUpperCase() + rest.toLowerCase(),
  ]);
  return [...words].flatMap((each) => {
    const texts = befores.map((before) => before + each).filter((one) => one !== text);
    return texts.map(idOf).filter((id) => id !== undefined);
  });
}
