/** What a key costs the extension host with completions on, beside off; the bench's section of that name reads the note. */
import assert from 'node:assert/strict';
import { performance } from 'node:perf_hooks';
import * as vscode from 'vscode';
import { ask, delay, idle, inWorkbench, until } from '../harness/driver.ts';
import { activate, fileUri, placeCursor } from '../harness/extension.ts';
import { note, suite, test } from '../harness/suite.ts';

/** Two show that it is measured; the bench asks for more. */
const rounds = Number(process.env.EARLY_EXIT_KEYSTROKE_ROUNDS ?? 2);
const keys = 'const total = values.reduce(sum, of)';
const hasGhostText = `document.querySelector('.ghost-text-decoration, .ghost-text') !== null`;
const beginning = '/** Adds up a list of numbers. */\nexport function sum(values: readonly number[]): number {\n  ';

/** Milliseconds of a key in which the extension host's event loop had work. */
async function perKey(document: vscode.TextDocument, isOn: boolean): Promise<number> {
  const configuration = vscode.workspace.getConfiguration('earlyExit.completions');
  await configuration.update('enabled', isOn, vscode.ConfigurationTarget.Global);
  const editor = await vscode.window.showTextDocument(document);
  const all = new vscode.Range(document.positionAt(0), document.positionAt(document.getText().length));
  await editor.edit((builder) => builder.replace(all, beginning));
  const end = document.positionAt(beginning.length);
  await placeCursor(editor, end);
  await delay(2_000);
  const before = performance.eventLoopUtilization();
  await ask({ do: 'type', text: keys });
  await until('the keys', () => document.getText().startsWith(beginning + keys.slice(0, 5)));
  await delay(500);
  return performance.eventLoopUtilization(before).active / keys.length;
}

export const run = suite([
  test('is timed with completions on and off, in turns', async () => {
    await activate();
    const document = await vscode.workspace.openTextDocument(fileUri('sums.ts'));
    await vscode.window.showTextDocument(document);
    await idle();
    // The backend starts and the model opens.
    await perKey(document, true);
    await vscode.commands.executeCommand('editor.action.inlineSuggest.trigger');
    await until('a suggestion', () => inWorkbench<boolean>(hasGhostText));
    const measured: Record<'on' | 'off', number[]> = { on: [], off: [] };
    for (let round = 0; round < rounds; round++) {
      for (const isOn of round % 2 ? [true, false] : [false, true])
        measured[isOn ? 'on' : 'off'].push(await perKey(document, isOn));
    }
    note(JSON.stringify(measured));
    assert.ok(Math.min(...measured.on, ...measured.off) > 0, 'keys cost time');
    await vscode.commands.executeCommand('workbench.action.files.revert');
  }),
]);
