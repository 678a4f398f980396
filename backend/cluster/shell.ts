/** Words for a shell. */

/** As a shell reads it: one word, whatever is in it. */
export const quoted = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;
