/** A folder that is not trusted: its settings name no models and no programs, and nothing is tuned; the shipped model works. */
import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import { inWorkbench, until } from '../harness/driver.ts';
import { activate, backendProcesses, fileUri } from '../harness/extension.ts';
import { suite, test } from '../harness/suite.ts';

export const run = suite([
  test('is in a folder that is not trusted, which names a model and a Node', async () => {
    assert.equal(vscode.workspace.isTrusted, false);
    const found = vscode.workspace.getConfiguration('earlyExit').inspect('model');
    assert.equal(found?.workspaceValue, undefined, 'the folder cannot set the model');
    assert.equal(vscode.workspace.getConfiguration('earlyExit').get('backend.nodePath'), null);
    assert.equal(vscode.workspace.getConfiguration('earlyExit').get('server.port'), 8080);
  }),

  test('generates with the model that ships, not with the one that the folder names', async () => {
    const api = await activate();
    const editor = await vscode.window.showTextDocument(fileUri('sums.ts'));
    const end = editor.document.positionAt(editor.document.getText().length);
    editor.selection = new vscode.Selection(end, end);
    const result = await api.generateAtCursor({ maxTokens: 8 });
    assert.equal(result?.trace.model, 'typescript-5m');
    assert.ok(result.trace.tokens.length > 0); // a text at a cursor ends with what it began
    assert.equal(backendProcesses().length, 1);
  }),

  test('completes with the model that ships, too', async () => {
    const configuration = vscode.workspace.getConfiguration('earlyExit.completions');
    await configuration.update('enabled', true, vscode.ConfigurationTarget.Global);
    const editor = await vscode.window.showTextDocument(fileUri('sums.ts'));
    const end = editor.document.positionAt(editor.document.getText().length);
    editor.selection = new vscode.Selection(end, end);
    await vscode.commands.executeCommand('editor.action.inlineSuggest.trigger');
    await until('ghost text', () =>
      inWorkbench<boolean>(`document.querySelector('.ghost-text, .ghost-text-decoration') !== null`),
    );
    assert.equal((await (await activate()).status()).model, 'typescript-5m');
    await configuration.update('enabled', undefined, vscode.ConfigurationTarget.Global);
  }),

  test('serves nothing to other programs', async () => {
    assert.equal(await vscode.commands.executeCommand('earlyExit.startServer'), null);
    await until('the reason', () =>
      inWorkbench<boolean>(
        `[...document.querySelectorAll('.notification-list-item-message')].some((each) => each.textContent.includes('nothing of it is served'))`,
      ),
    );
    await vscode.commands.executeCommand('notifications.clearAll');
  }),

  test('tunes nothing', async () => {
    const api = await activate();
    assert.equal(await api.startRun({ steps: 1 }), null);
    await until('the reason', () =>
      inWorkbench<boolean>(
        `[...document.querySelectorAll('.notification-list-item-message')].some((each) => each.textContent.includes('not trusted'))`,
      ),
    );
    assert.deepEqual(await api.listRuns(), []);
    assert.equal(await api.resumeRun('any'), null, 'nothing is taken up either');
  }),

  test('keeps a model that is chosen for the user, as what the folder says does not count', async () => {
    const model = (): unknown => vscode.workspace.getConfiguration('earlyExit').inspect('model')?.globalValue;
    await vscode.commands.executeCommand('earlyExit.useModel', { path: 'owner/name', name: 'name', kind: 'hub' });
    assert.equal(model(), 'owner/name');
    await vscode.workspace.getConfiguration('earlyExit').update('model', undefined, vscode.ConfigurationTarget.Global);
  }),
]);
