/** When completions are asked for, by a stub of the editor. */
import type { InlineCompletionContext, Position, TextDocument } from 'vscode';
import { expect, it, vi } from 'vitest';
import type { App } from '../../../../extension/app.ts';
import { createCompletions } from '../../../../extension/completions/completions.ts';
import type { CompletionSettings } from '../../../../extension/settings/settings.ts';
import {
  CancellationTokenSource,
  inlineProviders,
  InlineCompletionTriggerKind,
  window,
} from '../../../support/vscode.ts';

vi.mock('../../../../extension/completions/request.ts', () => ({ completionRequest: async () => ({}) }));
const visits = vi.hoisted(() => ({ changed: (): void => undefined }));
vi.mock('../../../../extension/completions/visited.ts', () => ({
  followVisits: () => ({
    chunks: () => [],
    onChange(listener: () => void) {
      visits.changed = listener;
      return { dispose: () => undefined };
    },
  }),
}));
vi.mock('../../../../extension/completions/place.ts', () => ({
  placeOf: (document: unknown) => ({ document, around: { prefix: 'a', suffix: '' }, repository: '', file: 'a.ts' }),
}));

const settings = { enabled: true, languages: ['*'], inComments: true, debounceMilliseconds: 0, chunkTokens: 0 };

it('a backend that failed is not started anew by typing, but by hand, and the status item says why', async () => {
  const send = vi.fn(async () => ({ suggestions: [], fills: true, promptTokens: 1, rememberedTokens: 0 }));
  const backend = { send, state: () => 'failed', failure: () => 'There is no Node.' };
  const completions = createCompletions(
    { backend } as unknown as App,
    () => settings as unknown as CompletionSettings,
    [],
  );
  const ask = (triggerKind: number): unknown =>
    inlineProviders[0]!.provideInlineCompletionItems(
      { uri: { scheme: 'file' }, version: 1, languageId: 'typescript' } as unknown as TextDocument,
      { line: 0, character: 1 } as Position,
      { triggerKind } as InlineCompletionContext,
      new CancellationTokenSource().token,
    );
  expect(await ask(InlineCompletionTriggerKind.Automatic)).toEqual([]);
  expect(completions.note()).toBe('There is no Node.');
  expect(send).not.toHaveBeenCalled();
  await ask(InlineCompletionTriggerKind.Invoke);
  expect(send).toHaveBeenCalledOnce();
});

it('a prompt is read ahead only where completions are offered', async () => {
  vi.useFakeTimers();
  const send = vi.fn(async () => ({ suggestions: [], fills: true, promptTokens: 1, rememberedTokens: 0 }));
  const backend = { send, state: () => 'running', log: { debug: expect.unreachable } };
  const withoutMarkdown = { ...settings, languages: ['*', '!markdown'] };
  createCompletions({ backend } as unknown as App, () => withoutMarkdown as unknown as CompletionSettings, []);
  const requestsIn = async (scheme: string, languageId: string): Promise<number> => {
    send.mockClear();
    window.activeTextEditor = { document: { uri: { scheme, path: 'a' }, languageId }, selection: {} } as never;
    visits.changed();
    await vi.runAllTimersAsync();
    return send.mock.calls.length;
  };
  expect(await requestsIn('file', 'markdown')).toBe(0);
  expect(await requestsIn('output', 'log')).toBe(0);
  expect(await requestsIn('untitled', 'typescript')).toBe(1);
  vi.useRealTimers();
});
