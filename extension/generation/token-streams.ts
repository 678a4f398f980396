/** Generations as they come from the backend: tokens are passed on as they arrive, or wait for a reader. */
import * as vscode from 'vscode';
import { headOf, type Trace } from '../../protocol/exittrace.ts';
import * as protocol from '../../protocol/server.ts';
import type { GenerateParams, GenerateResult } from '../../protocol/server.ts';
import type { TokenRecord } from '../../protocol/trace.ts';
import type { Backend } from '../backend/backend.ts';

interface Listener {
  /** What is true of the whole trace, before the first token. */
  readonly ready?: (head: Partial<Trace>) => void;
  readonly tokens: (tokens: readonly TokenRecord[]) => void;
}

export interface TokenStreams {
  /** Resolves at the end, with all tokens in the trace. */
  generate(params: GenerateParams, listener: Listener, token?: vscode.CancellationToken): Promise<GenerateResult>;
}

export function createTokenStreams(backend: Backend, subscriptions: vscode.Disposable[]): TokenStreams {
  const listeners = new Map<string, Listener>();
  subscriptions.push(
    backend.listen(protocol.generationReady, ({ generation, ready }) => {
      listeners.get(generation)?.ready?.(headOf(ready));
    }),
    backend.listen(protocol.tokensGenerated, ({ generation, tokens }) => listeners.get(generation)?.tokens(tokens)),
  );
  return {
    async generate(params, listener, token) {
      const received: TokenRecord[] = [];
      const tokens = (some: readonly TokenRecord[]): void => {
        received.push(...some);
        listener.tokens(some);
      };
      listeners.set(params.generation, { ...listener, tokens });
      try {
        const end = await backend.send(protocol.generate, params, token);
        return { ...end, trace: { ...end.trace, tokens: received } };
      } finally {
        listeners.delete(params.generation);
      }
    },
  };
}

export interface TokenReader {
  /**
   * The tokens since the last call, at least `pause` milliseconds after it unless the end has come; the newest waits until another or the end
   * has come. Null once all are read.
   */
  next(pause: number): Promise<{ readonly tokens: TokenRecord[]; readonly isLast: boolean } | null>;
  /** Stops the generation, unless it is over, and waits for its end. */
  end(): Promise<{ readonly result: GenerateResult | null; readonly failure: Error | null }>;
  dispose(): void;
}

/** Reads what `generate` hands to `take`; `token` stops it, as ending does. */
export function readTokens(
  generate: (take: (tokens: readonly TokenRecord[]) => void, stop: vscode.CancellationToken) => Promise<GenerateResult>,
  token: vscode.CancellationToken,
): TokenReader {
  const stopped = new vscode.CancellationTokenSource();
  const cancelled = token.onCancellationRequested(() => stopped.cancel());
  const waiting: TokenRecord[] = [];
  let wake = (): void => {};
  let isOver = false;
  const take = (tokens: readonly TokenRecord[]): void => {
    waiting.push(...tokens);
    wake();
  };
  const ended = generate(take, stopped.token)
    .then(
      (result) => ({ result, failure: null }),
      (error: unknown) => ({ result: null, failure: error instanceof Error ? error : new Error(String(error)) }),
    )
    .finally(() => {
      isOver = true;
      wake();
    });
  return {
    async next(pause) {
      let isPaused = pause > 0;
      const resume = (): void => {
        isPaused = false;
        wake();
      };
      const timer = isPaused ? setTimeout(resume, pause) : undefined;
      for (;;) {
        // The newest token waits for the end: its edit is the one that closes the step of undo.
        const ready = isOver ? waiting.length : isPaused ? 0 : waiting.length - 1;
        if (isOver) clearTimeout(timer);
        if (ready > 0) return { tokens: waiting.splice(0, ready), isLast: isOver };
        if (isOver) return null;
        await new Promise<void>((resolve) => (wake = resolve));
      }
    },
    end() {
      if (!isOver) stopped.cancel();
      return ended;
    },
    dispose() {
      cancelled.dispose();
      stopped.dispose();
    },
  };
}
