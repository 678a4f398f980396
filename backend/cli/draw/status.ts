/**
 * Progress on a stream: on a terminal one line that is drawn over, else a plain line now and then. Lines that stay go
 * through here too, so that they never mix with the one drawn over.
 */
import { stripVTControlCharacters } from 'node:util';
import { columnsOf, textWidth } from './table.ts';
import type { Stream } from './terminal.ts';

export interface Status {
  /** A line that stays. */
  say(line: string): void;
  /** The current activity, and its progress `share` (null if unknown). The line is made only when it is shown. */
  show(share: number | null, line: (bar: string) => string): void;
  /** Takes the drawn line away. */
  clear(): void;
}

const DRAW_MILLISECONDS = 80;
const PLAIN_MILLISECONDS = 5_000;
const BAR_WIDTH = 20;

export function openStatus(stream: Stream, now: () => number = () => performance.now()): Status {
  let drawn = false;
  let last = stream.interactive ? -Infinity : now();
  const clear = (): void => {
    if (drawn) stream.write('\r\x1b[2K');
    drawn = false;
  };
  return {
    say(line) {
      clear();
      stream.write(`${line}\n`);
      // What goes on below the line is drawn at once.
      if (stream.interactive) last = -Infinity;
    },
    show(share, line) {
      const time = now();
      if (time - last < (stream.interactive ? DRAW_MILLISECONDS : PLAIN_MILLISECONDS)) return;
      last = time;
      if (!stream.interactive) {
        stream.write(`${line(share === null ? '' : `${Math.floor(100 * share)} %`)}\n`);
        return;
      }
      const text = line(share === null ? '' : bar(stream, share));
      stream.write(`\r\x1b[2K${fit(text, stream.columns - 1)}`);
      drawn = true;
    },
    clear,
  };
}

/** `━━━━━━╸────  52 %` */
function bar(stream: Stream, share: number): string {
  const halves = Math.round(Math.min(1, Math.max(0, share)) * 2 * BAR_WIDTH);
  const done = '━'.repeat(Math.floor(halves / 2)) + (halves % 2 ? '╸' : '');
  const rest = '─'.repeat(BAR_WIDTH - done.length);
  const { green, dim } = stream.colours;
  return `${green(done)}${dim(rest)} ${`${Math.floor(100 * share)} %`.padStart(5)}`;
}

/** A drawn line must not wrap: one too long loses its colours and its end. */
function fit(text: string, columns: number): string {
  if (textWidth(text) <= columns) return text;
  let width = 1;
  const fitting = [...stripVTControlCharacters(text)].filter((character) => (width += columnsOf(character)) <= columns);
  return `${fitting.join('')}…`;
}
