/**
 * Other spellings of a token: the same word behind another sign or in other capitals, or signs of which one is another. Knows texts and ids,
 * no model.
 */

const signs = [' ', '\t', '\n', ...'!"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~'];
/** What tokens have before a word: nothing, or one sign. */
const befores = ['', ...signs.filter((sign) => sign !== '\n')];
const wordOfToken = /^[^\p{L}\p{N}]?([\p{L}\p{N}][\p{L}\p{N}_]*)$/u;
/** Without the sign that stands for bytes that are no text of their own. */
const signsOfToken = /^[^\p{L}\p{N}\uFFFD]+$/u;

/** The tokens that spell a token's text otherwise; none if the text is more than a word behind at most one sign, or more than signs. */
export function otherSpellings(text: string, idOf: (text: string) => number | undefined): number[] {
  const texts = new Set(signsOfToken.test(text) ? otherSigns(text) : otherWords(text));
  texts.delete(text);
  return [...texts].map(idOf).filter((id) => id !== undefined);
}

/** The word of a text behind each sign and in other capitals. */
function otherWords(text: string): string[] {
  const word = wordOfToken.exec(text)?.[1];
  if (word === undefined) return [];
  const [first, rest] = [word.slice(0, 1), word.slice(1)];
  const words = [
    word,
    word.toLowerCase(),
    word.toUpperCase(),
    first.toUpperCase() + rest,
    first.toLowerCase() + rest,
    first.toUpperCase() + rest.toLowerCase(),
  ];
  return words.flatMap((each) => befores.map((before) => before + each));
}

/** Signs with one more, one less or another one in its place, at their beginning or end: `(\` and `{\` for ` \`, `[\n` for `[`. */
function otherSigns(text: string): string[] {
  const own = Array.from(text);
  const [tail, head] = [own.slice(1).join(''), own.slice(0, -1).join('')];
  const changed = signs.flatMap((sign) => [sign + text, text + sign, sign + tail, head + sign]);
  return [tail, head, ...changed].filter((each) => each !== '');
}
