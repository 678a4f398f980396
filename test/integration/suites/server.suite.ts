/** A server for other programs, started and stopped from the editor. */
import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import type { ServingState } from '../../../protocol/server.ts';
import { inWorkbench, until } from '../harness/driver.ts';
import { activate } from '../harness/extension.ts';
import { suite, test } from '../harness/suite.ts';

let served: ServingState;
const item = `[...document.querySelectorAll('.statusbar-item')].find((item) => /earlyExit.server|early-exit.*server/i.test(item.id) && item.offsetParent !== null)`;

export const run = suite([
  test('Start Server serves the chosen model, and the status bar says where', async () => {
    await activate();
    await vscode.workspace.getConfiguration('earlyExit.server').update('port', 0, vscode.ConfigurationTarget.Global);
    served = await vscode.commands.executeCommand<ServingState>('earlyExit.startServer');
    assert.match(served.url, /^http:\/\/127\.0\.0\.1:\d+$/);
    const response = await fetch(`${served.url}/v1/completions`, {
      method: 'POST',
      body: JSON.stringify({ prompt: 'const x = ', max_tokens: 4 }),
    });
    const answer = (await response.json()) as { choices: { text: string }[] };
    assert.equal(response.status, 200);
    assert.ok(answer.choices[0]!.text.length > 0);
    const shown = await until('the address', () => inWorkbench<string | undefined>(`${item}?.textContent`));
    assert.ok(shown.includes(served.url.replace('http://', '')), shown);
  }),

  test('Stop Server ends it, and the status bar says no more', async () => {
    await vscode.commands.executeCommand('earlyExit.stopServer');
    await assert.rejects(fetch(`${served.url}/health`));
    await until('the item to go', async () => (await inWorkbench<boolean>(`${item} === undefined`)) || undefined);
    await vscode.workspace
      .getConfiguration('earlyExit.server')
      .update('port', undefined, vscode.ConfigurationTarget.Global);
  }),
]);
