/** The chosen model as a chat model, where VS Code has a place for it: a stub of its API asks what VS Code would. */
import { beforeEach, describe, expect, it } from 'vitest';
import type { App } from '../../../extension/app.ts';
import { chatVendor, offerChat } from '../../../extension/chat-provider.ts';
import {
  activeEditorChanged,
  chatProviders,
  lm,
  setSetting,
  workspace,
  type LanguageModelTextPart,
} from '../../support/vscode.ts';

interface Provider {
  onDidChangeLanguageModelChatInformation: (listener: () => void) => unknown;
  provideLanguageModelChatInformation(): { id: string; name: string }[];
  provideLanguageModelChatResponse(...given: unknown[]): Promise<void>;
  provideTokenCount(model: unknown, text: unknown): Promise<number>;
}

type Requested = { options: Record<string, unknown>; turns: unknown; token: unknown };
let requests: Requested[] = [];
const app = {
  backend: { start: async () => {}, runtime: () => null },
  generations: {
    generate: async (
      prompt: string,
      options: Record<string, unknown>,
      onToken: (token: { text: string }) => void,
      token: unknown,
      turns: unknown,
    ) => {
      expect(prompt).toBe('');
      requests.push({ options, turns, token });
      for (const text of ['A ', 'mean.']) onToken({ text });
    },
  },
} as unknown as App;

const provider = (): Provider => chatProviders.get(chatVendor) as Provider;
beforeEach(() => {
  requests = [];
  setSetting('earlyExit.model', undefined);
  offerChat(app, []);
});

describe('the chosen model among the chat models', () => {
  it('is one where it is not the one that ships, and tells when it changes', () => {
    expect(provider().provideLanguageModelChatInformation()).toEqual([]);
    let changes = 0;
    provider().onDidChangeLanguageModelChatInformation(() => changes++);
    setSetting('earlyExit.model', '/models/SmolLM2-135M.Q8_0.gguf');
    setSetting('earlyExit.display.hover', false);
    expect(changes).toBe(1);
    const [model] = provider().provideLanguageModelChatInformation();
    expect(model).toMatchObject({ id: '/models/SmolLM2-135M.Q8_0.gguf', name: 'SmolLM2-135M.Q8_0' });
  });

  it('is the one of the folder whose document is edited', () => {
    setSetting('earlyExit.model', '/models/a.gguf');
    setSetting('earlyExit.model', '/models/b.gguf', 'workspaceFolderValue');
    let changes = 0;
    provider().onDidChangeLanguageModelChatInformation(() => changes++);
    activeEditorChanged.fire();
    expect(changes).toBe(0);
    // As where the document lies outside of that folder.
    workspace.isTrusted = false;
    activeEditorChanged.fire();
    activeEditorChanged.fire();
    workspace.isTrusted = true;
    setSetting('earlyExit.model', undefined, 'workspaceFolderValue');
    expect(changes).toBe(1);
  });

  it('is asked with the turns of the conversation, and answers in pieces as they come', async () => {
    setSetting('earlyExit.model', './chatty');
    const [model] = provider().provideLanguageModelChatInformation();
    const messages = [
      { role: 1, content: [{ value: 'Write a sum.' }] },
      { role: 2, content: [{ value: 'a + b' }] },
      { role: 1, content: [{ value: 'Now a ' }, { value: 'mean.' }] },
    ];
    const answered: string[] = [];
    const progress = { report: ({ value }: LanguageModelTextPart) => void answered.push(value) };
    const token = {};
    await provider().provideLanguageModelChatResponse(
      model,
      messages,
      { modelOptions: { maxTokens: 7 } },
      progress,
      token,
    );
    expect(answered).toEqual(['A ', 'mean.']);
    expect(requests).toHaveLength(1);
    expect(requests[0]!.token).toBe(token);
    expect(requests[0]!.options).toMatchObject({ model: './chatty', chat: true, maxTokens: 7, candidates: 0 });
    expect(requests[0]!.turns).toEqual([
      { role: 'user', content: 'Write a sum.' },
      { role: 'assistant', content: 'a + b' },
      { role: 'user', content: 'Now a mean.' },
    ]);
  });

  it('guesses tokens before it is open, of a text and of a message', async () => {
    expect(await provider().provideTokenCount(null, '1234567')).toBe(2);
    expect(await provider().provideTokenCount(null, { role: 1, content: [{ value: '1234567' }] })).toBe(2);
  });

  it('is not offered where VS Code has no place for it', () => {
    chatProviders.clear();
    const whole = { ...lm };
    Object.assign(lm, { registerLanguageModelChatProvider: undefined });
    offerChat(app, []);
    Object.assign(lm, whole);
    expect(chatProviders.size).toBe(0);
  });
});
