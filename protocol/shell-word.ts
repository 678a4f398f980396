/** Words as a shell reads them. */

/** For POSIX shells and fish: one word, whatever is in it. */
export const quoted = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;
