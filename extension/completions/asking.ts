/**
 * Requests completions from the backend: one place at a time, and each place once. When idle it works ahead: on the place after a
 * suggestion, if that were accepted, and on changes of other files.
 */
import * as vscode from 'vscode';
import type { CompletionLimits, CompletionResult, Gap } from '../../protocol/completion.ts';
import type { Trace } from '../../protocol/exittrace.ts';
import * as protocol from '../../protocol/server.ts';
import { behindCharacters, shownTokens, textOfTokens, type Around } from '../../protocol/suggestion.ts';
import type { App } from '../app.ts';
import { codeOf } from '../messages.ts';
import { chosenModel } from '../models/model-and-exits.ts';
import { completionRequest, forgetRequests } from './request.ts';
import type { CompletionSettings } from '../settings/settings.ts';
import { chunksBeside, type Chunk } from './chunks.ts';
import { oneAtATime, type SharedRequest } from './one-at-a-time.ts';
import { createResults, type At, type Suggested } from './results.ts';
import type { Place } from './place.ts';

export interface Asking {
  /** The suggestions for this place, or what would be left of them after typing; null if they were not requested. */
  known(place: Place): readonly Found[] | null;
  /** The likeliest first. Null once the token fires. */
  ask(place: Place, suggestions: number, token: vscode.CancellationToken): Promise<readonly Found[] | null>;
  /**
   * When idle, requests what would follow if a suggestion were accepted. If the clock cut the suggestion off within its line, a longer
   * one, with the rest of the line, replaces it at this place. With `growing` null nothing is replaced.
   */
  ahead(place: Place, suggestion: Suggested<Trace>, growing: Growing | null): Promise<void>;
  /** When idle, computes the prompt of a place ahead. */
  readAhead(place: Place): void;
  /** Forgets all suggestions, also those that were requested and have not come. */
  clear(): void;
}

/** A suggestion that is shown and may become longer. */
export interface Growing {
  /** Whether it can still be shown: nothing was typed, and the cursor is where it was. */
  isWanted(): boolean;
  /** The place has the longer one. */
  grown(): void;
}

export interface Found extends Suggested<Trace> {
  /** Characters of it that were typed since. */
  readonly typed: number;
}

export function createAsking(
  app: App,
  settings: () => CompletionSettings,
  chunks: () => readonly Chunk[],
  answered: (result: CompletionResult, model: string) => void,
): Asking {
  const results = createResults<Trace>();
  const requests = oneAtATime<readonly Found[]>();

  const request = async (place: Place, suggestions: number, token: vscode.CancellationToken) => {
    const { around, repository, file, document } = place;
    const { prefixTokens, suffixTokens, chunkTokens, maxTokens, maxMilliseconds } = settings();
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
    const model = chosenModel(document.uri);
    const sent = app.backend.send(protocol.complete, { gap, limits, options }, token);
    const result = await sent.catch((error: unknown) => {
      if (staleCodes.has(codeOf(error))) forgetRequests(app);
      throw error;
    });
    if (!token.isCancellationRequested) answered(result, model);
    return result;
  };

  const requestFor = (place: Place, suggestions: number): SharedRequest<readonly Found[]> => ({
    key: [place.document.uri, place.around.prefix, place.around.suffix].join('\0'),
    size: suggestions,
    async work(given) {
      const asking = tokenOf(given);
      try {
        const result = await request(place, suggestions, asking.token);
        if (result === null || given.aborted || suggestions === 0) return [];
        const found = suggested(result, place.around);
        results.add(atOf(place), found);
        return found.map((each) => ({ ...each, typed: 0 }));
      } finally {
        asking.dispose();
      }
    },
  });

  /** The user did not start this: errors go to the log, and are shown when the user asks for a completion. */
  const quietly = async (one: SharedRequest<readonly Found[]>): Promise<readonly Found[] | null> => {
    try {
      return await requests.ahead(one);
    } catch (error) {
      app.backend.log.debug(`Not read ahead: ${String(error)}`);
      return null;
    }
  };

  return {
    known: (place) => results.find(atOf(place)),
    async ask(place, suggestions, token) {
      const waiting = signalOf(token);
      try {
        return await requests.ask(requestFor(place, suggestions), waiting.signal);
      } finally {
        waiting.dispose();
      }
    },
    async ahead(place, suggestion, growing) {
      let longest = suggestion;
      for (;;) {
        const behind = { ...place, around: { ...place.around, prefix: place.around.prefix + longest.text } };
        const found = results.find(atOf(behind)) ?? (await quietly(requestFor(behind, 1)));
        // Another request came, whose answer is shown.
        if (found === null) return;
        const [rest] = found;
        const longer = growing?.isWanted() && rest ? withRest(longest, rest) : null;
        if (longer === null || longest.of.tokens.length >= settings().maxTokens) break;
        longest = longer;
      }
      if (longest === suggestion) return;
      results.add(atOf(place), [longest]);
      growing?.grown();
    },
    readAhead: (place) => void quietly(requestFor(place, 0)),
    clear() {
      requests.stop();
      results.clear();
    },
  };
}

/** Errors of exits or a model that were deleted, renamed or replaced: the next request looks for those that are there now. */
const staleCodes: ReadonlySet<unknown> = new Set(['not-found', 'wrong-base-model', 'bad-checkpoint']);

const atOf = ({ document, around }: Place): At => ({ uri: document.uri.toString(), ...around });

/** A suggestion that the clock cut off within its line, with what follows it; null if its line was whole. */
function withRest({ text, of }: Suggested<Trace>, rest: Found): Suggested<Trace> | null {
  const isCutOff = of.stop === 'cancelled' && !text.includes('\n') && !rest.text.startsWith('\n');
  if (!isCutOff) return null;
  return {
    text: text + rest.text,
    of: { ...of, stop: rest.of.stop, tokens: [...of.tokens, ...behindCharacters(rest.of.tokens, rest.typed)] },
  };
}

/** A signal as the token that a request takes. */
function tokenOf(signal: AbortSignal): vscode.Disposable & { readonly token: vscode.CancellationToken } {
  const source = new vscode.CancellationTokenSource();
  const cancel = (): void => source.cancel();
  signal.addEventListener('abort', cancel);
  return {
    token: source.token,
    dispose() {
      signal.removeEventListener('abort', cancel);
      source.dispose();
    },
  };
}

function signalOf(token: vscode.CancellationToken): vscode.Disposable & { readonly signal: AbortSignal } {
  const controller = new AbortController();
  if (token.isCancellationRequested) controller.abort();
  const listening = token.onCancellationRequested(() => controller.abort());
  return { signal: controller.signal, dispose: () => void listening.dispose() };
}

/** Suggestions that are not blank, each once. */
function suggested(result: CompletionResult, around: Around): Suggested<Trace>[] {
  const found = new Map<string, Suggested<Trace>>();
  for (const trace of result.suggestions) {
    const tokens = shownTokens(trace.tokens, trace.stop ?? 'cancelled', around);
    const text = textOfTokens(tokens);
    if (text !== '' && !found.has(text)) found.set(text, { text, of: { ...trace, tokens } });
  }
  return [...found.values()];
}
