/** What the editor asks the backend for, by a stub of its API. */
import { expect, it, vi } from 'vitest';
import type { CompletionLimits, Gap } from '../../../../protocol/completion.ts';
import type { StopReason } from '../../../../protocol/trace.ts';
import type { App } from '../../../../extension/app.ts';
import { createAsking, type Asking } from '../../../../extension/completions/asking.ts';
import type { Place } from '../../../../extension/completions/place.ts';
import type { CompletionSettings } from '../../../../extension/settings/settings.ts';
import { CancellationTokenSource } from '../../../support/vscode.ts';

const forgetRequests = vi.hoisted(() => vi.fn());
vi.mock('../../../../extension/completions/request.ts', () => ({
  completionRequest: async () => ({}),
  forgetRequests,
}));

const limits = { prefixTokens: 100, suffixTokens: 50, chunkTokens: 0, maxTokens: 64, maxMilliseconds: 500 };

const placeAt = (prefix: string, suffix: string): Place =>
  ({ around: { prefix, suffix }, repository: '', file: 'a.ts', document: { uri: 'a.ts' } }) as unknown as Place;

/** What asks a backend that answers so. */
function askingOf(send: unknown): Asking {
  const app = { backend: { send, log: { debug: expect.unreachable } } } as unknown as App;
  return createAsking(
    app,
    () => limits as CompletionSettings,
    () => [],
    () => {},
  );
}

it('a prompt is read ahead under the limits of the suggestion that comes behind, which decide how it is cut', async () => {
  const requests: CompletionLimits[] = [];
  const send = async (_request: unknown, { limits }: { limits: CompletionLimits }) => {
    requests.push(limits);
    return { suggestions: [], fills: true, promptTokens: 1, rememberedTokens: 0 };
  };
  const asking = askingOf(send);
  const place = placeAt('a', 'b');
  asking.readAhead(place);
  await vi.waitFor(() => expect(requests).toHaveLength(1));
  await asking.ask(place, 2, new CancellationTokenSource().token);
  expect(requests).toEqual([
    { ...limits, suggestions: 0 },
    { ...limits, suggestions: 2 },
  ]);
});

/** What the backend writes after each prefix: a text, and whether the clock cut it off. */
type Answers = Readonly<Record<string, readonly [text: string, stop: StopReason]>>;

async function workingAhead(answers: Answers, isAlone = true, isWanted = true) {
  const token = (text: string) => ({ text, id: 1, exit: 'final', layer: 12, confidence: 1 });
  const send = async (_request: unknown, { gap }: { gap: Gap }) => {
    const [text, stop] = answers[gap.prefix]!;
    return { suggestions: [{ stop, tokens: [token(text)] }], fills: true, promptTokens: 1, rememberedTokens: 0 };
  };
  const asking = askingOf(send);
  const place = placeAt('  ', '\n}');
  const [first] = (await asking.ask(place, 1, new CancellationTokenSource().token))!;
  const grown = vi.fn();
  await asking.ahead(place, first!, isAlone ? { isWanted: () => isWanted, grown } : null);
  const [now] = asking.known(place)!;
  return { text: now!.text, tokens: now!.of.tokens.map(({ text }) => text), grown: grown.mock.calls.length };
}

it('a suggestion that the clock cut off within its line becomes longer, until the line is whole', async () => {
  const cut: Answers = {
    '  ': ['return sum ', 'cancelled'],
    '  return sum': [' / values ', 'cancelled'],
    '  return sum / values': ['.length;', 'block-end'],
    '  return sum / values.length;': ['\n}', 'block-end'],
  };
  expect(await workingAhead(cut)).toEqual({
    text: 'return sum / values.length;',
    tokens: ['return sum', ' / values', '.length;'],
    grown: 1,
  });
  expect(await workingAhead(cut, true, false)).toMatchObject({ text: 'return sum', grown: 0 });
  // Alternatives stay as they are.
  expect(await workingAhead(cut, false)).toMatchObject({ text: 'return sum', grown: 0 });
});

it.each<[string, Answers]>([
  ['ended by itself', { '  ': ['return sum', 'block-end'], '  return sum': [' / count;', 'block-end'] }],
  ['has a whole line', { '  ': ['add(a);', 'cancelled'], '  add(a);': ['\n}', 'block-end'] }],
  ['has lines', { '  ': ['a();\n  b();\n  c', 'cancelled'], '  a();\n  b();': ['c();', 'block-end'] }],
])('a suggestion that %s stays as it is', async (_how, answers) => {
  expect(await workingAhead(answers)).toMatchObject({ grown: 0 });
});

it('the next request looks for exits again if those of this one are gone, but not if it failed otherwise', async () => {
  const failingWith = async (code: string): Promise<void> => {
    const asking = askingOf(async () => {
      throw Object.assign(new Error('It failed.'), { data: { code } });
    });
    const asked = asking.ask(placeAt('a', 'b'), 1, new CancellationTokenSource().token);
    await expect(asked).rejects.toThrow('It failed.');
  };
  await failingWith('out-of-memory');
  expect(forgetRequests).not.toHaveBeenCalled();
  await failingWith('not-found');
  expect(forgetRequests).toHaveBeenCalledOnce();
});
