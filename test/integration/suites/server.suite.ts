/** A server for other programs, started and stopped from the editor. */
import assert from 'node:assert/strict';
import { createServer, type AddressInfo } from 'node:net';
import * as vscode from 'vscode';
import type { ServingState } from '../../../protocol/server.ts';
import { inWorkbench, screenshot, until } from '../harness/driver.ts';
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

  test('a port that is taken is said in a sentence that names the setting, and opens it', async () => {
    await vscode.commands.executeCommand('earlyExit.stopServer');
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const { port } = other.address() as AddressInfo;
    const server = vscode.workspace.getConfiguration('earlyExit.server');
    await server.update('port', port, vscode.ConfigurationTarget.Global);
    assert.equal(await vscode.commands.executeCommand('earlyExit.startServer'), null);
    const text = await until('the reason', () =>
      inWorkbench<string | null>(
        `[...document.querySelectorAll('.notification-list-item')].map((each) => each.textContent).find((text) => text.includes('is taken')) ?? null`,
      ),
    );
    assert.match(text, new RegExp(`Port ${port} is taken\\. .*earlyExit\\.server\\.port`));
    assert.match(text, /Open Settings/);
    assert.doesNotMatch(text, /EADDRINUSE|\bat .*\.[jt]s/);
    await screenshot('port-taken');
    await vscode.commands.executeCommand('notifications.clearAll');
    other.close();
    await server.update('port', 0, vscode.ConfigurationTarget.Global);
    served = await vscode.commands.executeCommand<ServingState>('earlyExit.startServer');
    assert.equal((await fetch(`${served.url}/health`)).status, 200);
    await screenshot('serving');
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
