/**
 * Tokens that an editor writes into its documents, from the time they are sent until the editor reports their positions, so that they are
 * sent only once.
 */
import { emptyTrace, headOf, type Trace } from '../../protocol/exittrace.ts';
import type { GenerateReadyEvent } from '../../protocol/events.ts';
import type { TokenRecord } from '../../protocol/trace.ts';

export interface Written {
  /** A generation into a document begins. `known`: the trace that it continues. */
  begin(generation: string, uri: string, prompt: string, known: Trace | undefined): void;
  ready(generation: string, event: GenerateReadyEvent): void;
  received(generation: string, token: TokenRecord): void;
  /** No more tokens come: the generation is forgotten when the last one is taken. */
  end(generation: string): void;
  /** The next tokens with their trace's head and the address of their document; null if none are kept. */
  take(generation: string, tokens: number): { readonly uri: string; readonly trace: Trace } | null;
  forget(generation: string): void;
  /** A document was closed. */
  forgetDocument(uri: string): void;
}

interface Kept {
  readonly uri: string;
  /** Number of tokens of the trace that it continues. */
  readonly before: number;
  trace: Trace;
  isOver: boolean;
}

export function createWritten(): Written {
  const kept = new Map<string, Kept>();
  const dropIfDone = (generation: string, { isOver, trace }: Kept): void => {
    if (isOver && trace.tokens.length === 0) kept.delete(generation);
  };
  return {
    begin(generation, uri, prompt, known) {
      const trace = { ...(known ?? emptyTrace({ prompt })), stop: null, tokens: [] };
      kept.set(generation, { uri, before: known?.tokens.length ?? 0, trace, isOver: false });
    },
    ready(generation, event) {
      const text = kept.get(generation);
      if (text) text.trace = { ...text.trace, ...headOf(event) };
    },
    received(generation, token) {
      const text = kept.get(generation);
      text?.trace.tokens.push({ ...token, index: text.before + token.index });
    },
    end(generation) {
      const text = kept.get(generation);
      if (!text) return;
      text.isOver = true;
      dropIfDone(generation, text);
    },
    take(generation, tokens) {
      const text = kept.get(generation);
      if (!text) return null;
      const taken = text.trace.tokens.splice(0, tokens);
      dropIfDone(generation, text);
      return { uri: text.uri, trace: { ...text.trace, tokens: taken } };
    },
    forget: (generation) => void kept.delete(generation),
    forgetDocument(uri) {
      for (const [generation, text] of kept) if (text.uri === uri) kept.delete(generation);
    },
  };
}
