/** When completions are asked for, by a stub of the editor. */
import type { InlineCompletionContext, Position, TextDocument } from 'vscode';
import { expect, it, vi } from 'vitest';
import type { App } from '../../../../extension/app.ts';
import { createCompletions } from '../../../../extension/completions/completions.ts';
import type { CompletionSettings } from '../../../../extension/settings/settings.ts';
import { CancellationTokenSource, inlineProviders, InlineCompletionTriggerKind } from '../../../support/vscode.ts';

vi.mock('../../../../extension/completions/request.ts', () => ({ completionRequest: async () => ({}) }));
vi.mock('../../../../extension/completions/visited.ts', () => ({
  followVisits: () => ({ chunks: () => [], onChange: () => ({ dispose: () => undefined }) }),
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
      { uri: 'a.ts', version: 1, languageId: 'typescript' } as unknown as TextDocument,
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
