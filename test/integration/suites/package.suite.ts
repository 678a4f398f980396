/** The packaged extension, installed into a clean server: the main job from beginning to end. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import path from 'node:path';
import * as vscode from 'vscode';
import { inView, until } from '../harness/driver.ts';
import { activate, EXTENSION_ID, fileUri, runIs } from '../harness/extension.ts';
import { suite, test } from '../harness/suite.ts';

export const run = suite([
  test('runs from where it was installed, not from the repository', async () => {
    const extension = vscode.extensions.getExtension(EXTENSION_ID);
    assert.ok(extension, 'it is installed');
    const repository = process.env.EARLY_EXIT_TEST_REPOSITORY!;
    assert.ok(!extension.extensionPath.startsWith(repository), extension.extensionPath);
    await until('the extension to be active', () => extension.isActive);
  }),

  test('tunes the model that ships on this folder and generates with its exits', async () => {
    const api = await activate();
    const run = await api.startRun({});
    assert.ok(run);
    const finished = await runIs(api, run.id, ['finished'], 110);
    assert.ok(existsSync(path.join(finished.directory, 'exits.safetensors')));
    const editor = await vscode.window.showTextDocument(fileUri('sums.ts'), { viewColumn: vscode.ViewColumn.One });
    const end = editor.document.positionAt(editor.document.getText().length);
    editor.selection = new vscode.Selection(end, end);
    const result = await api.generateAtCursor({ maxTokens: 16 });
    assert.ok(result && result.trace.tokens.length > 0); // a text at a cursor ends with what it began
    assert.deepEqual(result.trace.exits, ['4:norm', '8:norm', 'final']);
  }),

  test('says what the machine offers', async () => {
    await vscode.commands.executeCommand('earlyExit.doctor');
    const page = await until('the findings of the doctor', async () => {
      const text = await inView<string>('doctor', `document.body.textContent`);
      return text.includes('cpu') && text;
    });
    assert.match(page, /ggml/);
  }),
]);
