/** The chosen model as a chat model of VS Code, where VS Code has a place for those of extensions. */
import assert from 'node:assert/strict';
import { cpSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import * as vscode from 'vscode';
import { until } from '../harness/driver.ts';
import { activate, withBackendStopped, workspaceFolder } from '../harness/extension.ts';
import { suite, test } from '../harness/suite.ts';

const chatty = (): string => path.join(workspaceFolder(), 'chatty');
const own = (): Thenable<vscode.LanguageModelChat[]> => vscode.lm.selectChatModels({ vendor: 'early-exit' });
const setModel = (model: string | undefined): Thenable<void> =>
  vscode.workspace.getConfiguration('earlyExit').update('model', model, vscode.ConfigurationTarget.Global);
const question = [
  vscode.LanguageModelChatMessage.User('Write a sum.'),
  vscode.LanguageModelChatMessage.Assistant('const sum = a + b;'),
  vscode.LanguageModelChatMessage.User('Now a mean.'),
];

async function answerOf(
  model: vscode.LanguageModelChat,
  messages: vscode.LanguageModelChatMessage[],
  token?: vscode.CancellationToken,
  maxTokens = 12,
): Promise<string[]> {
  const pieces: string[] = [];
  const response = await model.sendRequest(messages, { modelOptions: { maxTokens } }, token);
  for await (const piece of response.text) pieces.push(piece);
  return pieces;
}

export const run = suite([
  test('is no chat model while it is the one that ships, which knows no chats', async () => {
    await activate();
    assert.deepEqual(await own(), []);
  }),

  test('is one once it is chosen, by its own name', async () => {
    cpSync(path.join(process.env.EARLY_EXIT_TEST_REPOSITORY!, 'models/typescript-5m'), chatty(), { recursive: true });
    const template = '{% for m in messages %}// {{ m.role }}: {{ m.content }}\n{% endfor %}// assistant:';
    writeFileSync(path.join(chatty(), 'chat_template.jinja'), template);
    await setModel('./chatty');
    const [model] = await until('the model', async () => ((await own()).length === 1 ? own() : null));
    assert.equal(model!.name, 'chatty');
    assert.equal(await model!.countTokens('1234567'), 2);
  }),

  test('answers as it writes what a conversation comes to by its own template', async () => {
    const [model] = await own();
    const pieces = await answerOf(model!, question);
    assert.ok(pieces.length > 1, 'comes in pieces');
    const written = '// user: Write a sum.\n// assistant: const sum = a + b;\n// user: Now a mean.\n// assistant:';
    const api = await activate();
    const { trace } = await api.generate(written, { model: './chatty', maxTokens: 12, candidates: 0 });
    assert.equal(pieces.join(''), trace.tokens.map(({ text }) => text).join(''));
  }),

  test('ends where the answer is stopped', async () => {
    const [model] = await own();
    const source = new vscode.CancellationTokenSource();
    const response = await model!.sendRequest(question, { modelOptions: { maxTokens: 400 } }, source.token);
    const pieces: string[] = [];
    await Promise.resolve(
      (async () => {
        for await (const piece of response.text) {
          if (pieces.push(piece) > 1) continue;
          // The answer takes a fifth of a second: were the backend not stopped, it might be there before the word to stop.
          await withBackendStopped(async () => {
            source.cancel();
            await delay(200);
          });
        }
      })(),
    ).catch(() => {});
    await until('the end', async () => (await (await activate()).status()).activity === 'idle');
    assert.ok(pieces.length > 0 && pieces.length < 300, String(pieces.length));
  }),

  test('refuses a conversation that is longer than its context with a sentence', async () => {
    const [model] = await own();
    const long = vscode.LanguageModelChatMessage.User('const value = 1;\n'.repeat(400));
    await assert.rejects(answerOf(model!, [long]), /tokens|context/);
  }),

  test('is none any more once another is chosen', async () => {
    await setModel(undefined);
    await until('no model', async () => (await own()).length === 0);
  }),
]);
