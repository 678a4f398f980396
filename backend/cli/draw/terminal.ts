/**
 * The output of a command: results to standard output, progress to standard error. Commands draw only on this record, so that a test can
 * read what a person would see.
 */
import picocolors from 'picocolors';

export type Colours = ReturnType<typeof picocolors.createColors>;

export interface Stream {
  write(text: string): void;
  /** Whether it is a terminal, whose lines can be redrawn. */
  readonly interactive: boolean;
  /** Whether control characters have an effect. */
  readonly isTerminal: boolean;
  readonly columns: number;
  readonly colours: Colours;
  /** Text in one of the terminal's 256 colours. */
  paint(colour: number, text: string): string;
}

export interface Terminal {
  readonly out: Stream;
  readonly err: Stream;
}

export interface Environment {
  readonly CI?: string | undefined;
  readonly NO_COLOR?: string | undefined;
  readonly FORCE_COLOR?: string | undefined;
  readonly TERM?: string | undefined;
}

type Output = Pick<NodeJS.WriteStream, 'write'> & { readonly isTTY?: boolean; readonly columns?: number };

export const openTerminal = (out: Output, err: Output, environment: Environment): Terminal => ({
  out: openStream(out, environment),
  err: openStream(err, environment),
});

function openStream(output: Output, { CI, NO_COLOR, FORCE_COLOR, TERM }: Environment): Stream {
  const terminal = output.isTTY === true && TERM !== 'dumb';
  const forced = FORCE_COLOR !== undefined && FORCE_COLOR !== '0';
  const coloured = !NO_COLOR && FORCE_COLOR !== '0' && (terminal || forced);
  return {
    write: (text) => void output.write(text),
    interactive: terminal && !CI,
    isTerminal: output.isTTY === true,
    get columns() {
      return output.columns || 80;
    },
    colours: picocolors.createColors(coloured),
    paint: (colour, text) => (coloured ? `\x1b[38;5;${colour}m${text}\x1b[39m` : text),
  };
}
