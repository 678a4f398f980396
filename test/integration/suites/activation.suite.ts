/** The extension comes up with the window, quickly, and starts nothing. */
import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import { commandId, commandKeys } from '../../../extension/commands.ts';
import { inView, inWorkbench, press, until } from '../harness/driver.ts';
import { activate, backendProcesses, EXTENSION_ID, fileUri, pictures } from '../harness/extension.ts';
import { suite, test } from '../harness/suite.ts';

export const run = suite([
  test('is active without being asked for, registers every command and starts no backend', async () => {
    await vscode.window.showTextDocument(fileUri('sums.ts'));
    await until('the extension', () => vscode.extensions.getExtension(EXTENSION_ID)?.isActive);
    await vscode.commands.executeCommand(commandId('showLogs'));
    const known = await vscode.commands.getCommands(true);
    const missing = commandKeys.map(commandId).filter((command) => !known.includes(command));
    assert.deepEqual(missing, []);
    assert.deepEqual(backendProcesses(), []);
  }),

  test('shows its status, which says that the backend waits', async () => {
    const item = `[...document.querySelectorAll('.statusbar-item')].find((item) => /early-exit/.test(item.id))`;
    const text = await until('the status item', () => inWorkbench<string | undefined>(`${item}?.textContent`));
    assert.match(text, /typescript-5m · auto/, 'model and mode');
    const icon = `${item}.querySelector('.codicon-early-exit') !== null && document.fonts.size > 0`;
    assert.equal(await inWorkbench(icon), true, 'it has an icon of its own');
  }),

  test('exports an API that starts the backend when used', async () => {
    const api = await activate();
    assert.equal(api.version, 1);
    assert.equal((await api.status()).activity, 'idle');
    assert.equal(backendProcesses().length, 1);
  }),

  test('shows what the doctor finds in a view with nothing to save', async () => {
    await vscode.commands.executeCommand('workbench.action.closePanel');
    await vscode.commands.executeCommand('earlyExit.doctor');
    const tab = await until('the view', () =>
      vscode.window.tabGroups.all.flatMap(({ tabs }) => tabs).find(({ label }) => label.includes('Early Exit Doctor')),
    );
    assert.equal(tab.isDirty, false);
    assert.ok(tab.input instanceof vscode.TabInputWebview, 'it is a view, not a file');
    assert.deepEqual(
      vscode.workspace.textDocuments.filter((document) => document.isUntitled),
      [],
    );
    const labels = await until('its buttons', async () => {
      const all = await inView<string>(
        'doctor',
        `[...document.querySelectorAll('vscode-button')].map((each) => each.textContent).join(' | ')`,
      );
      return all.includes('Copy Report') && all;
    });
    assert.match(labels, /Look Again \| Restart Backend \| Show Logs \| Copy Report/);
    await pictures('doctor');
    await vscode.commands.executeCommand('workbench.action.closeAllEditors');
  }),

  test('has a walkthrough with pictures', async () => {
    await vscode.commands.executeCommand('workbench.action.closePanel');
    await vscode.commands.executeCommand('workbench.action.openWalkthrough', `${EXTENSION_ID}#start`, false);
    await until('a picture', () =>
      inWorkbench<boolean>(`document.querySelector('.getting-started-media img')?.naturalWidth > 0`),
    );
    await pictures('walkthrough');
    const [, ...steps] = (
      await inWorkbench<string>(
        `[...document.querySelectorAll('.getting-started-step .step-title, .getting-started-step h3')].map((each) => each.textContent).join('|')`,
      )
    ).split('Tune exits');
    assert.match(
      steps.join(),
      /Watch the gap close.*Generate.*Look at each token.*Choose a model.*Complete while you type/,
    );
    await inWorkbench(
      `[...document.querySelectorAll('.getting-started-step .monaco-button')].find((each) => each.textContent === 'Tune Early Exits').click()`,
    );
    const hasKeys = `document.querySelector('.quick-input-widget:not([style*="display: none"]) input') === document.activeElement`;
    await until('the question, with the keys', () => inWorkbench<boolean>(hasKeys));
    await press('Escape');
    await vscode.commands.executeCommand('workbench.action.closeAllEditors');
  }),
]);
