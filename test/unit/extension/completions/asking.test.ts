/** What the editor asks the backend for, by a stub of its API. */
import { expect, it, vi } from 'vitest';
import type { CompletionLimits } from '../../../../protocol/completion.ts';
import type { App } from '../../../../extension/app.ts';
import { createAsking } from '../../../../extension/completions/asking.ts';
import type { Place } from '../../../../extension/completions/place.ts';
import type { CompletionSettings } from '../../../../extension/settings.ts';
import { CancellationTokenSource } from '../../../support/vscode.ts';

vi.mock('../../../../extension/completions/request.ts', () => ({ completionRequest: async () => ({}) }));

it('a prompt is read ahead under the limits of the suggestion that comes behind, which decide how it is cut', async () => {
  const requests: CompletionLimits[] = [];
  const send = async (_request: unknown, { limits }: { limits: CompletionLimits }) => {
    requests.push(limits);
    return { suggestions: [], fills: true, promptTokens: 1, rememberedTokens: 0 };
  };
  const app = { backend: { send, log: { debug: expect.unreachable } } } as unknown as App;
  const limits = { prefixTokens: 100, suffixTokens: 50, chunkTokens: 0, maxTokens: 64, maxMilliseconds: 500 };
  const asking = createAsking(
    app,
    () => limits as CompletionSettings,
    () => [],
    () => {},
  );
  const around = { prefix: 'a', suffix: 'b' };
  const place = { around, repository: '', file: 'a.ts', document: { uri: {} } } as unknown as Place;
  asking.readAhead(place);
  await vi.waitFor(() => expect(requests).toHaveLength(1));
  await asking.ask(place, 2, new CancellationTokenSource().token);
  expect(requests).toEqual([
    { ...limits, suggestions: 0 },
    { ...limits, suggestions: 2 },
  ]);
});
