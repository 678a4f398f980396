/** One who decodes: what a measurement of decoding asks of our own engine and of others. */
import type { Child } from './child.ts';

export interface Decoder {
  /** Takes the prompts in and chooses the first token of each; answers the seconds it took. */
  start(prompts: readonly (readonly number[])[]): Promise<number>;
  /** Decodes `tokens` more of every sequence; answers the seconds it took. */
  pull(tokens: number): Promise<number>;
  dispose(): Promise<void>;
}

/** A decoder in a process of its own, whose model is open. */
export const childDecoder = (child: Child): Decoder => ({
  start: (prompts) => child.ask({ type: 'start', prompts }),
  pull: (count) => child.ask({ type: 'pull', count }),
  dispose: () => child.end(),
});
