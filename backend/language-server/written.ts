/**
 * Tokens that an editor writes into its documents, from the time they are sent until the editor reports their positions, so that they are
 * sent only once.
 */
import { emptyTrace, headOf, type Trace } from '../../protocol/exittrace.ts';
import type { GenerateReadyEvent } from '../../protocol/events.ts';
import type { GenerateParams } from '../../protocol/server.ts';
import type { TokenRecord } from '../../protocol/trace.ts';

export interface Written {
  /** A generation begins; one without a document is not kept. `known`: the trace that it continues. */
  begin(params: GenerateParams, known: Trace | undefined): void;
  ready(generation: string, event: GenerateReadyEvent): void;
  received(generation: string, token: TokenRecord): void;
  /** The next tokens with their trace's head and the address of their document; null if none are kept. */
  take(generation: string, tokens: number): { readonly uri: string; readonly trace: Trace } | null;
  forget(generation: string): void;
  /** A document was closed. */
  forgetDocument(uri: string): void;
}

export function createWritten(): Written {
  const kept = new Map<string, { readonly uri: string; readonly before: number; trace: Trace }>();
  return {
    begin({ generation, uri, prompt }, known) {
      if (uri === undefined) return;
      const trace = { ...(known ?? emptyTrace({ prompt })), stop: null, tokens: [] };
      kept.set(generation, { uri, before: known?.tokens.length ?? 0, trace });
    },
    ready(generation, event) {
      const text = kept.get(generation);
      if (text) text.trace = { ...text.trace, ...headOf(event) };
    },
    received(generation, token) {
      const text = kept.get(generation);
      text?.trace.tokens.push({ ...token, index: text.before + token.index });
    },
    take(generation, tokens) {
      const text = kept.get(generation);
      if (!text) return null;
      return { uri: text.uri, trace: { ...text.trace, tokens: text.trace.tokens.splice(0, tokens) } };
    },
    forget: (generation) => void kept.delete(generation),
    forgetDocument(uri) {
      for (const [generation, text] of kept) if (text.uri === uri) kept.delete(generation);
    },
  };
}
