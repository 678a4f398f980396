/** A terminal that tests read: what was written, and what a person would see of it. */
import { stripVTControlCharacters } from 'node:util';
import { openTerminal, type Environment, type Terminal } from '../../../backend/cli/draw/terminal.ts';

export interface Screen {
  readonly terminal: Terminal;
  /** Everything written to standard output, colours included. */
  out(): string;
  /** Likewise to standard error. */
  err(): string;
}

export function openScreen(settings: { tty?: boolean; environment?: Environment } = {}): Screen {
  const { tty = false, environment = {} } = settings;
  const written = { out: '', err: '' };
  const stream = (key: 'out' | 'err') => ({
    isTTY: tty,
    columns: 100,
    write: (text: string) => {
      written[key] += text;
      return true;
    },
  });
  return {
    terminal: openTerminal(stream('out'), stream('err'), environment),
    out: () => written.out,
    err: () => written.err,
  };
}

export const plain = (text: string): string => stripVTControlCharacters(text);

/** Lines as they stand once everything drawn over is gone. */
export const visible = (text: string): string[] =>
  text
    .split('\n')
    .map((line) => plain(line.split(/\r(?:\x1b\[2K)?/).at(-1) ?? ''))
    .filter((line) => line !== '');

export async function* stream<T>(...items: T[]): AsyncGenerator<T, void> {
  for (const item of items) yield item;
}
