/** Settings are respected, and a bad one is named with what it must be. */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import * as vscode from 'vscode';
import { ask, delay, inWorkbench, press, until } from '../harness/driver.ts';
import { activate, backendProcesses, fileUri, runIs } from '../harness/extension.ts';
import { suite, test } from '../harness/suite.ts';

/** The texts of the messages on the screen. */
const messages = (): Promise<string> =>
  inWorkbench(
    `[...document.querySelectorAll('.notification-list-item-message')].map((each) => each.textContent).join('\\n')`,
  );
/** The editor shows no more than three new messages within 0.8 s; those of the next test are not to be among the others. */
const dismiss = async (): Promise<void> => {
  await vscode.commands.executeCommand('notifications.clearAll');
  await delay(1000);
};

const set = (name: string, value: unknown): Thenable<void> =>
  vscode.workspace.getConfiguration('earlyExit').update(name, value, vscode.ConfigurationTarget.Workspace);

export const run = suite([
  test('asks nothing where model, data and preset are set, and uses what is set', async () => {
    const api = await activate();
    await vscode.commands.executeCommand('earlyExit.tune');
    const run = await until('a run', async () => (await api.listRuns())[0]);
    assert.equal(run.title, 'typescript-5m · 6:norm · 4 steps · src/**/*.ts');
    const finished = await runIs(api, run.id, ['finished'], 110);
    assert.equal(finished.step, 4);
    assert.deepEqual(finished.exits, ['6:norm']);
    await vscode.commands.executeCommand('workbench.action.closeAllEditors');
  }),

  test('says what a wrong setting must be, as soon as it is set', async () => {
    await set('tuning.learningRate', 'fast');
    await until('the message', async () =>
      (await messages()).includes('earlyExit.tuning.learningRate must be a number from 0 to 1, not "fast".'),
    );
    await dismiss();
    await set('tuning.learningRate', undefined);
    await set('exits', '8:nonsense');
    await until('the message', async () => (await messages()).includes('earlyExit.exits must be exits such as 8:mlp'));
    await dismiss();
  }),

  test('refuses to run with it, in the same words', async () => {
    const api = await activate();
    const before = (await api.listRuns()).length;
    assert.equal(await api.startRun({}), null);
    await until('the message', async () => (await messages()).includes('earlyExit.exits must be'));
    await dismiss();
    assert.equal((await api.listRuns()).length, before);
    await set('exits', undefined);
  }),

  test('refuses a model that does not exist, naming it', async () => {
    const api = await activate();
    const editor = await vscode.window.showTextDocument(fileUri('sums.ts'));
    const before = editor.document.getText();
    const generated = await api.generateAtCursor({ model: fileUri('no-such-model').fsPath, exits: null });
    assert.equal(generated, null);
    assert.equal(editor.document.getText(), before);
    await until('the message', async () => (await messages()).includes('no-such-model'));
  }),

  test('generates while the message of a failure is still there', async () => {
    assert.match(await messages(), /no-such-model/);
    const editor = vscode.window.activeTextEditor!;
    const before = editor.document.getText();
    await vscode.commands.executeCommand('earlyExit.generate', { maxTokens: 4 });
    assert.notEqual(editor.document.getText(), before);
    assert.match(await messages(), /no-such-model/);
    await vscode.commands.executeCommand('undo');
    await dismiss();
  }),

  test('chooses the model with its exits, and keeps the two together', async () => {
    const setting = (name: string): unknown => vscode.workspace.getConfiguration('earlyExit').get(name);
    const exits = { directory: fileUri('typescript-5m.exits').fsPath, name: 'typescript-5m.exits', exits: ['6:norm'] };
    await vscode.commands.executeCommand('earlyExit.useModel', { path: 'owner/other', name: 'other', kind: 'hub' });
    assert.equal(setting('model'), 'owner/other');
    await vscode.commands.executeCommand('workbench.view.extension.earlyExit');
    const sidebar = (): Promise<string> => inWorkbench(`document.querySelector('.sidebar')?.textContent ?? ''`);
    await until('the model from elsewhere in the list', async () => (await sidebar()).includes('from the hub'));
    await until('the exits of another model, dimmed', () =>
      inWorkbench<boolean>(
        `[...document.querySelectorAll('.sidebar .monaco-icon-label')].some((row) => row.textContent.includes('typescript-5m.exits') && /monaco-decoration/.test(row.innerHTML + row.className))`,
      ),
    );
    await vscode.commands.executeCommand('earlyExit.useExits', { ...exits, model: 'typescript-5m' });
    assert.equal(setting('model'), 'typescript-5m');
    assert.equal(setting('decoding.exits'), exits.directory);
    await vscode.commands.executeCommand('earlyExit.useModel', { path: '/elsewhere/m', name: 'm', kind: 'path' });
    assert.equal(setting('decoding.exits'), null, 'exits of another model are not kept');
    await set('model', undefined);
    await vscode.commands.executeCommand('earlyExit.useExits', { ...exits, model: 'nowhere-to-be-found' });
    await until('the offer', async () => (await messages()).includes('which is not among the models of this folder'));
    assert.equal(setting('decoding.exits'), null);
    await dismiss();
    await vscode.commands.executeCommand('workbench.view.explorer');
  }),

  test('takes a pasted hub id in the pick of the model', async () => {
    // It is here already: nothing is downloaded.
    const hub = path.join(process.env.HF_HUB_CACHE!, 'models--owner--name');
    mkdirSync(path.join(hub, 'refs'), { recursive: true });
    mkdirSync(path.join(hub, 'snapshots/c0ffee0'), { recursive: true });
    writeFileSync(path.join(hub, 'refs/main'), 'c0ffee0');
    writeFileSync(path.join(hub, 'snapshots/c0ffee0/m.gguf'), 'GGUF');
    const chosen = vscode.commands.executeCommand('earlyExit.chooseModel');
    await until('the pick', () =>
      inWorkbench<boolean>(`/Choose a model/.test(document.querySelector('.quick-input-widget input')?.placeholder)`),
    );
    await ask({ do: 'type', text: 'owner/name:m.gguf' });
    await delay(300);
    await press('Enter');
    await chosen;
    assert.equal(vscode.workspace.getConfiguration('earlyExit').get('model'), 'owner/name:m.gguf');
    await set('model', undefined);
  }),

  test('runs the backend with the Node that is named, and refuses what is none', async () => {
    let seen = '';
    const api = await activate();
    const own = fileUri('node-of-mine');
    writeFileSync(
      own.fsPath,
      `#!/bin/sh\nexec "${process.execPath.includes('node') ? process.execPath : 'node'}" "$@"\n`,
    );
    chmodSync(own.fsPath, 0o755);
    await set('backend.nodePath', own.fsPath);
    await until('the offer', async () => (await messages()).includes('takes effect when the backend starts again'));
    await dismiss();
    await vscode.commands.executeCommand('earlyExit.restart');
    assert.equal((await api.status()).activity, 'idle');
    await set('backend.nodePath', fileUri('sums.ts').fsPath);
    await vscode.commands.executeCommand('earlyExit.restart');
    await until('the refusal', async () => {
      const all = await messages();
      if (all.includes('which is no Node')) return true;
      seen = all || seen;
      return false;
    }).catch((error: unknown) => {
      throw new Error(`${String(error)}; seen: ${seen}`);
    });
    await dismiss();
    await set('backend.nodePath', undefined);
    await vscode.commands.executeCommand('earlyExit.restart');
    assert.equal((await api.status()).activity, 'idle');
    assert.equal(backendProcesses().length, 1);
  }),
]);
