/** A machine without Node: the backend runs in VS Code's own runtime, says so, and does the job on the CPU. */
import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import { inWorkbench, until } from '../harness/driver.ts';
import { activate, fileUri } from '../harness/extension.ts';
import { pick } from '../harness/pick.ts';
import { suite, test } from '../harness/suite.ts';

export const run = suite([
  test('generates all the same', async () => {
    process.env.PATH = '/nowhere'; // VS Code itself has the path of a login shell
    const api = await activate();
    const editor = await vscode.window.showTextDocument(fileUri('sums.ts'));
    const end = editor.document.positionAt(editor.document.getText().length);
    editor.selection = new vscode.Selection(end, end);
    const result = await api.generateAtCursor({ maxTokens: 6 });
    assert.ok(result && result.trace.tokens.length > 0); // a text at a cursor ends with what it began
    assert.equal((await api.status()).device, 'cpu');
  }),

  test('says in the menu of its status which runtime it has, and why, its state, and what one can do', async () => {
    await vscode.commands.executeCommand('workbench.action.closeAllEditors');
    const menu = vscode.commands.executeCommand('earlyExit.status');
    const title = `document.querySelector('.quick-input-title')?.textContent ?? ''`;
    await until('the menu', async () => {
      const text = await inWorkbench<string>(title);
      return text.includes("VS Code's own runtime, without WebGPU: there is no Node on PATH");
    });
    const shown = await pick();
    for (const each of ['running · typescript-5m', 'Generate with Early Exits', 'Start Server'])
      assert.ok(shown.includes(each), shown);
    await vscode.commands.executeCommand('workbench.action.closeQuickOpen');
    await menu;
  }),
]);
