/** The palette of exits in a terminal: exits from cool to warm, the final exit left as it is. */
import { exitShade, palette, TEXT_DRAFT } from '../../../protocol/palette.ts';
import type { Stream } from './terminal.ts';

export interface ExitColours {
  /** `exit` may be `lookup`: what the text itself had drafted. */
  paint(exit: string, text: string): string;
  /** The exits in order, the final one last. */
  readonly exits: readonly string[];
}

/** Colours of a model's exits, given in the order of the stream without the final one; without exits there are none. */
export const exitColours = (stream: Stream, exits: readonly string[]): ExitColours => ({
  exits: [...exits, 'final'],
  paint: (exit, text) => {
    const { terminal } = palette[exit === TEXT_DRAFT ? 'text' : exitShade(exit, exits)];
    return terminal === null || exits.length === 0 ? text : stream.paint(terminal, text);
  },
});
