/** What a command is given besides its words: the terminal, Ctrl-C and standard input. */
import type { Terminal } from './draw/terminal.ts';

export interface Context {
  readonly terminal: Terminal;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
  /** All of standard input, for a prompt of `-`. */
  readInput(): Promise<string>;
}
