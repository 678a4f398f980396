/** Words for a shell. */

/** As a shell reads it: one word, whatever is in it. */
export const quoted = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;

/** Value of PYTHONPATH, for a POSIX shell: this folder before those that are there. */
export const quotedPythonPath = (folder: string): string => `${quoted(folder)}"\${PYTHONPATH:+:$PYTHONPATH}"`;
