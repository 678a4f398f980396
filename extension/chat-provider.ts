/**
 * The chosen model as a chat model of VS Code, if this VS Code supports chat models (from 1.104 on). The used part of the API is declared
 * here, because the extension also runs in older versions.
 */
import * as vscode from 'vscode';
import { turnsOf, type ChatMessage } from '../protocol/chat-turns.ts';
import { shippedModel } from '../protocol/options/groups.ts';
import type { App } from './app.ts';
import { modelTitle } from './models/choices.ts';
import { generateOptions } from './generation/generating.ts';
import { chosenModel } from './models/model-and-exits.ts';

/** As the manifest names it. */
export const chatVendor = 'early-exit';

interface ChatModel {
  readonly id: string;
  readonly name: string;
  readonly family: string;
  readonly version: string;
  readonly maxInputTokens: number;
  readonly maxOutputTokens: number;
  readonly capabilities: Readonly<Record<string, never>>;
}

interface ChatProvider {
  readonly onDidChangeLanguageModelChatInformation: vscode.Event<void>;
  provideLanguageModelChatInformation(): ChatModel[];
  provideLanguageModelChatResponse(
    model: ChatModel,
    messages: readonly ChatMessage[],
    options: { readonly modelOptions?: Readonly<Record<string, unknown>> },
    progress: vscode.Progress<vscode.LanguageModelTextPart>,
    token: vscode.CancellationToken,
  ): Promise<void>;
  provideTokenCount(model: ChatModel, text: string | ChatMessage): Promise<number>;
}

interface ChatHost {
  registerLanguageModelChatProvider?(vendor: string, provider: ChatProvider): vscode.Disposable;
}

/** What small models see at least; a longer conversation is refused by a sentence. */
const SEEN_TOKENS = 4_096;
const ANSWER_TOKENS = 1_024;
/** Approximate characters per token in English and code; VS Code asks before the model is open. */
const CHARACTERS_PER_TOKEN = 3.5;

export function offerChat(app: App, subscriptions: vscode.Disposable[]): void {
  const host = vscode.lm as ChatHost;
  if (typeof host.registerLanguageModelChatProvider !== 'function') return;
  const changed = new vscode.EventEmitter<void>();
  let offered = chosenModel();
  const tell = (): void => {
    if (chosenModel() === offered) return;
    offered = chosenModel();
    changed.fire();
  };
  subscriptions.push(
    changed,
    vscode.workspace.onDidChangeConfiguration(tell),
    // Each folder may have a model of its own.
    vscode.window.onDidChangeActiveTextEditor(tell),
    host.registerLanguageModelChatProvider(chatVendor, chatProvider(app, changed.event)),
  );
}

function chatProvider(app: App, changed: vscode.Event<void>): ChatProvider {
  return {
    onDidChangeLanguageModelChatInformation: changed,
    provideLanguageModelChatInformation() {
      const model = chosenModel();
      // The one that ships writes TypeScript and knows no chats.
      if (model === shippedModel) return [];
      const name = modelTitle(model);
      const tokens = { maxInputTokens: SEEN_TOKENS - ANSWER_TOKENS, maxOutputTokens: ANSWER_TOKENS };
      return [{ id: model, name, family: name, version: '1', ...tokens, capabilities: {} }];
    },
    async provideLanguageModelChatResponse(model, messages, { modelOptions = {} }, progress, token) {
      const maxTokens = Number(modelOptions['maxTokens'] ?? ANSWER_TOKENS);
      const asked = { model: model.id, chat: true, candidates: 0, maxTokens };
      const options = await generateOptions(app, undefined, asked);
      const say = ({ text }: { text: string }): void => progress.report(new vscode.LanguageModelTextPart(text));
      await app.generations.generate('', options, say, token, turnsOf(messages));
    },
    provideTokenCount: async (_, text) => {
      const content =
        typeof text === 'string'
          ? text
          : turnsOf([text])
              .map((turn) => turn.content)
              .join('');
      return Math.ceil(content.length / CHARACTERS_PER_TOKEN);
    },
  };
}
