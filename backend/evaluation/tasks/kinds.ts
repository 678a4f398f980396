/** The kind of a token, by its text alone, for a table of the exits at which kinds of tokens leave. */

export const tokenKinds = ['identifier', 'keyword', 'number', 'punctuation', 'whitespace', 'text'] as const;
export type TokenKind = (typeof tokenKinds)[number];

/** Of Python and of JavaScript. */
const keywords = new Set(
  (
    'and as assert async await break case catch class const continue def default del delete do elif else except export extends ' +
    'False finally for from function global if import in instanceof is lambda let new None nonlocal not null of or pass raise return ' +
    'static super switch this throw True true false try typeof undefined var void while with yield'
  ).split(' '),
);

/** `isCode`: whether the text around it is. */
export function kindOf(token: string, isCode: boolean): TokenKind {
  // A part of a character has no text yet.
  if (token === '') return 'text';
  const text = token.trim();
  if (text === '') return 'whitespace';
  if (/^[\d.]*\d[\d.]*$/.test(text)) return 'number';
  if (!/[\p{L}\p{N}_]/u.test(text)) return 'punctuation';
  if (!isCode) return 'text';
  if (keywords.has(text)) return 'keyword';
  return /^[\p{L}_$][\p{L}\p{N}_$]*$/u.test(text) ? 'identifier' : 'text';
}
