/**
 * Open brackets of a text, a character at a time; those in strings and comments do not count, in the syntax of most languages. Pure; knows
 * no language, so its result for unusual text is a guess.
 */

export interface BracketReader {
  /** Brackets that are open, each as it was written. */
  readonly open: string[];
  /** Closing brackets that came while none was open. */
  readonly closers: number;
  /** Whether the text is inside a string or comment that is not closed; and whether that is a comment. */
  readonly isQuoted: boolean;
  readonly isComment: boolean;
  /** Reads on; `closes`: a bracket closed something that was opened before the text began. */
  push(sign: string): { readonly closes: boolean };
}

type Quote = '"' | "'" | '`' | '//' | '/*' | '#';

export function bracketReader(): BracketReader {
  const open: string[] = [];
  let closers = 0;
  let quote: Quote | null = null;
  let before = '';
  let isEscaped = false;

  const beginning = (sign: string): Quote | null => {
    if (sign === '"' || sign === "'" || sign === '`') return /\w/.test(before) && sign === "'" ? null : sign;
    if (before === '/' && (sign === '/' || sign === '*')) return sign === '/' ? '//' : '/*';
    // Not a private member nor a colour.
    return before === '#' && /[ !#]/.test(sign) ? '#' : null;
  };
  const isOver = (sign: string): boolean => {
    if (quote === '/*') return before === '*' && sign === '/';
    if (quote === '`') return sign === '`' && !isEscaped;
    return sign === '\n' || (quote === sign && !isEscaped);
  };

  return {
    open,
    get closers() {
      return closers;
    },
    get isQuoted() {
      return quote !== null;
    },
    get isComment() {
      return quote === '//' || quote === '/*' || quote === '#';
    },
    push(sign) {
      let closes = false;
      if (quote !== null) {
        if (isOver(sign)) quote = null;
        isEscaped = sign === '\\' && !isEscaped;
      } else {
        quote = beginning(sign);
        isEscaped = false;
        if (quote === null && '([{'.includes(sign)) open.push(sign);
        else if (quote === null && ')]}'.includes(sign) && open.pop() === undefined) {
          closers++;
          closes = true;
        }
      }
      before = sign;
      return { closes };
    },
  };
}

/** A reader that has read a text. */
export function readBrackets(text: string): BracketReader {
  const reader = bracketReader();
  for (const sign of text) reader.push(sign);
  return reader;
}
