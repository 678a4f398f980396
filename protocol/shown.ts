/**
 * Makes foreign text safe to show: characters that would move a cursor, ring a bell, hide text or reverse its direction are made visible,
 * and very long text is cut. For terminals and notifications; text in files is not changed.
 */

/** Longer texts are cut in a message. */
const longestShown = 2_000;

/** Control characters, those that turn the direction of writing, separators of lines, and halves of characters. */
const unshowable = /[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]|\p{Cs}/gu;

/** The text as it can be shown. `keep`: characters that stay, such as line ends. */
export function shown(
  text: string,
  { limit = longestShown, keep = '' }: { limit?: number; keep?: string } = {},
): string {
  const cut = text.length > limit ? `${text.slice(0, limit)} … (${text.length} characters)` : text;
  return cut.replace(unshowable, (character) => (keep.includes(character) ? character : picture(character)));
}

/** `␛` for the ASCII ones, `‹U+202E›` for the others. */
function picture(character: string): string {
  const code = character.codePointAt(0)!;
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  if (code === 0x7f) return '␡';
  return `‹U+${code.toString(16).toUpperCase().padStart(4, '0')}›`;
}

/** A value as one line of JSON that can be shown: JSON alone escapes only some of these characters. */
export const jsonLine = (value: unknown): string =>
  JSON.stringify(value).replace(
    unshowable,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );

/** Every text in a record made fit to be shown, names included. */
export function shownRecord<T>(value: T): T {
  return showAll(value) as T;
}

function showAll(value: unknown): unknown {
  if (typeof value === 'string') return shown(value);
  if (Array.isArray(value)) return value.map(showAll);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [shown(key), showAll(each)]));
}
