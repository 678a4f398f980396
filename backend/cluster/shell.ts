/** Words for a shell. */
import { quoted } from '../../protocol/shell-word.ts';

/** Value of PYTHONPATH, for a POSIX shell: this folder before those that are there. */
export const quotedPythonPath = (folder: string): string => `${quoted(folder)}"\${PYTHONPATH:+:$PYTHONPATH}"`;
