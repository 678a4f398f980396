/** The colour of a depth: exits from green (shallow) over blue to pink (deep); the final exit is left as it is. */
import type { Stream } from './terminal.ts';

/** Middle tones of the 256 colours, readable on a dark and on a light ground. */
const ramp = [35, 37, 33, 99, 169];

export interface ExitColours {
  paint(exit: string, text: string): string;
  /** The exits in order, the final one last. */
  readonly exits: readonly string[];
}

/** Colours of a model's exits, given in the order of the stream without the final one. */
export function exitColours(stream: Stream, exits: readonly string[]): ExitColours {
  const colours = new Map(exits.map((exit, index) => [exit, rampColour(index, exits.length)]));
  return {
    exits: [...exits, 'final'],
    paint: (exit, text) => {
      const colour = colours.get(exit);
      return colour === undefined ? text : stream.paint(colour, text);
    },
  };
}

function rampColour(index: number, count: number): number {
  const share = count === 1 ? 0.5 : index / (count - 1);
  return ramp[Math.round(share * (ramp.length - 1))]!;
}
