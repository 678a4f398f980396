/**
 * Asks the backend for completions: one place at a time, the same place once. While nothing else is asked it looks ahead: at the
 * place where one would be if a suggestion were accepted, and at what has changed of other files.
 */
import * as vscode from 'vscode';
import type { CompletionLimits, CompletionResult, Gap } from '../../protocol/completion.ts';
import type { Trace } from '../../protocol/exittrace.ts';
import * as protocol from '../../protocol/server.ts';
import { shownTokens, textOfTokens, type Around } from '../../protocol/suggestion.ts';
import type { App } from '../app.ts';
import { chosenModel } from '../model-and-exits.ts';
import { completionRequest } from './request.ts';
import type { CompletionSettings } from '../settings.ts';
import { chunksBeside, type Chunk } from './chunks.ts';
import { createResults, type Suggested } from './results.ts';
import type { Place } from './place.ts';

export interface Asking {
  /** What was suggested here, or would be left of it after typing; null where it was not asked. */
  known(around: Around): readonly Found[] | null;
  /** The likeliest first. Null once the token fires. */
  ask(place: Place, suggestions: number, token: vscode.CancellationToken): Promise<readonly Found[] | null>;
  /** Asks as if a suggestion were accepted, where nothing else is asked. */
  ahead(place: Place, accepted: string): void;
  /** Reads the prompt of a place ahead, where nothing else is asked. */
  readAhead(place: Place): void;
  clear(): void;
}

export interface Found extends Suggested<Trace> {
  /** Characters of it that were typed since. */
  readonly typed: number;
}

/** One request. */
interface Running {
  readonly key: string;
  readonly suggestions: number;
  readonly source: vscode.CancellationTokenSource;
  readonly answer: Promise<readonly Found[] | null>;
}

export function createAsking(
  app: App,
  settings: () => CompletionSettings,
  chunks: () => readonly Chunk[],
  answered: (result: CompletionResult, model: string) => void,
): Asking {
  const results = createResults<Trace>();
  let running: Running | null = null;

  const request = async (place: Place, suggestions: number, maxTokens: number, token: vscode.CancellationToken) => {
    const { around, repository, file, document } = place;
    const { prefixTokens, suffixTokens, chunkTokens, maxMilliseconds } = settings();
    const limits: CompletionLimits = {
      prefixTokens,
      suffixTokens,
      chunkTokens,
      maxTokens,
      maxMilliseconds,
      suggestions,
    };
    const beside = chunkTokens === 0 ? [] : chunksBeside(chunks(), file, around.prefix + around.suffix);
    const gap: Gap = { ...around, repository, file, chunks: beside.map((chunk) => ({ ...chunk })) };
    const options = await completionRequest(app, document.uri);
    if (token.isCancellationRequested) return null;
    const result = await app.backend.send(protocol.complete, { gap, limits, options }, token);
    answered(result, chosenModel(document.uri));
    return result;
  };

  const start = (place: Place, suggestions: number, maxTokens: number): Running => {
    running?.source.cancel();
    const source = new vscode.CancellationTokenSource();
    const { around } = place;
    const answer = request(place, suggestions, maxTokens, source.token)
      .then((result) => {
        if (result === null || source.token.isCancellationRequested) return null;
        if (maxTokens === 0) return [];
        const found = suggested(result, around);
        results.add(around, found);
        return found.map((each) => ({ ...each, typed: 0 }));
      })
      .catch((error: unknown) => {
        if (source.token.isCancellationRequested) return null;
        throw error;
      })
      .finally(() => {
        if (running === now) running = null;
        source.dispose();
      });
    const now: Running = { key: keyOf(around), suggestions, source, answer };
    running = now;
    return now;
  };

  /** Nobody asked for this: what goes wrong is in the log, and is said once somebody asks. */
  const quietly = (place: Place, suggestions: number, maxTokens: number): void => {
    if (running !== null) return;
    start(place, suggestions, maxTokens).answer.catch((error: unknown) =>
      app.backend.log.debug(`Not read ahead: ${String(error)}`),
    );
  };

  return {
    known: (around) => results.find(around),
    async ask(place, suggestions, token) {
      const isSame = running !== null && running.key === keyOf(place.around) && running.suggestions >= suggestions;
      const now = isSame ? running! : start(place, suggestions, settings().maxTokens);
      const stop = token.onCancellationRequested(() => now.source.cancel());
      try {
        return await now.answer;
      } finally {
        stop.dispose();
      }
    },
    ahead(place, accepted) {
      const around = { ...place.around, prefix: place.around.prefix + accepted };
      if (results.find(around) === null) quietly({ ...place, around }, 1, settings().maxTokens);
    },
    readAhead: (place) => quietly(place, 0, 0),
    clear: () => results.clear(),
  };
}

const keyOf = ({ prefix, suffix }: Around): string => `${prefix}\0${suffix}`;

/** Suggestions that say something new, each once. */
function suggested(result: CompletionResult, around: Around): Suggested<Trace>[] {
  const found = new Map<string, Suggested<Trace>>();
  for (const trace of result.suggestions) {
    const tokens = shownTokens(trace.tokens, trace.stop ?? 'cancelled', around);
    const text = textOfTokens(tokens);
    if (text !== '' && !found.has(text)) found.set(text, { text, of: { ...trace, tokens } });
  }
  return [...found.values()];
}
