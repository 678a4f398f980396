/** The extension comes up on demand, quickly, and starts nothing. */
import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import { commandId, commandKeys } from '../../../extension/commands.ts';
import { inWorkbench, until } from '../harness/driver.ts';
import { activate, backendProcesses, EXTENSION_ID, fileUri } from '../harness/extension.ts';
import { note, suite, test } from '../harness/suite.ts';

export const run = suite([
  test('is not active before it is asked for', async () => {
    await vscode.window.showTextDocument(fileUri('sums.ts'));
    assert.equal(vscode.extensions.getExtension(EXTENSION_ID)?.isActive, false);
  }),

  test('activates, registers every command and starts no backend', async () => {
    const start = performance.now();
    await vscode.extensions.getExtension(EXTENSION_ID)!.activate();
    note(`loaded and activated in ${(performance.now() - start).toFixed(0)} ms`);
    await vscode.commands.executeCommand(commandId('showLogs'));
    assert.equal(vscode.extensions.getExtension(EXTENSION_ID)?.isActive, true);
    const known = await vscode.commands.getCommands(true);
    const missing = commandKeys.map(commandId).filter((command) => !known.includes(command));
    assert.deepEqual(missing, []);
    assert.deepEqual(backendProcesses(), []);
  }),

  test('shows its status, which says that the backend waits', async () => {
    const label = `[...document.querySelectorAll('.statusbar-item')].map((item) => item.getAttribute('aria-label') ?? '').find((text) => text.includes('Early Exit'))`;
    await until('the status item', () => inWorkbench<string | undefined>(label));
  }),

  test('exports an API that starts the backend when used', async () => {
    const api = await activate();
    assert.equal(api.version, 1);
    assert.equal((await api.status()).activity, 'idle');
    assert.equal(backendProcesses().length, 1);
  }),
]);
