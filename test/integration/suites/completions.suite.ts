/** Completions as a user meets them: they show, are taken, cycle, give way to typing, and say what they lack. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import * as vscode from 'vscode';
import { ask, delay, inWorkbench, press, until } from '../harness/driver.ts';
import { activate, fileUri } from '../harness/extension.ts';
import { note, suite, test } from '../harness/suite.ts';

const settings = (): vscode.WorkspaceConfiguration => vscode.workspace.getConfiguration('earlyExit');
const set = (name: string, value: unknown): Thenable<void> =>
  settings().update(name, value, vscode.ConfigurationTarget.Global);

/** What stands greyed in the editor; empty where nothing does. */
const ghostText = (): Promise<string> =>
  inWorkbench<string>(
    `[...new Set([...document.querySelectorAll('.ghost-text-decoration, .ghost-text')].map((each) => each.textContent))].join('\\n')`,
  );
/** The ghost text once it stays: while keys come in, one gives way to the next. */
const shown = (): Promise<string> =>
  until(
    'ghost text',
    async () => {
      const first = (await ghostText()).trim();
      await delay(600);
      return (await ghostText()).trim() === first && first;
    },
    60,
  );
const nothingShown = (): Promise<unknown> => until('no ghost text', async () => (await ghostText()) === '');
const act = (command: string): Thenable<unknown> => vscode.commands.executeCommand(command);

/** The status item's tooltip, which says what completions lack. */
async function tooltip(): Promise<string> {
  const hover = (selector: string): Promise<unknown> => ask({ do: 'hover', view: null, selector, position: null });
  await hover('.part.editor');
  await delay(300);
  await hover('.statusbar-item[id*="early-exit"]');
  return until('the tooltip', () =>
    inWorkbench<string | null>(
      `[...document.querySelectorAll('.monaco-hover')].map((each) => each.textContent.replaceAll('\\u00a0', ' ')).find((text) => text.includes('Completions')) ?? null`,
    ),
  );
}

/** One model of each program, and one whose download has not ended. */
async function madeUpModels(): Promise<void> {
  const write = (variable: string, name: string, content: string): void => {
    const file = path.join(process.env[variable]!, name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, content);
  };
  const [commit, digest] = ['a'.repeat(40), 'b'.repeat(64)];
  write('HF_HUB_CACHE', 'models--owner--name/refs/main', commit);
  write('HF_HUB_CACHE', `models--owner--name/snapshots/${commit}/tiny-Q8_0.gguf`, 'GGUF');
  const layer = { mediaType: 'application/vnd.ollama.image.model', digest: `sha256:${digest}`, size: 4 };
  write('OLLAMA_MODELS', 'manifests/registry.ollama.ai/library/coder/0.5b', JSON.stringify({ layers: [layer] }));
  write('OLLAMA_MODELS', `blobs/sha256-${digest}`, 'GGUF');
  write('LMSTUDIO_MODELS', 'owner/repo/studio-Q4_0.gguf', 'GGUF');
  write('LLAMA_CACHE', 'halfdone.gguf.downloadInProgress', 'GG');
}

let document: vscode.TextDocument;
const editorAt = async (text: string, offset = text.length): Promise<vscode.TextEditor> => {
  const editor = await vscode.window.showTextDocument(document);
  const all = new vscode.Range(document.positionAt(0), document.positionAt(document.getText().length));
  await act('editor.action.inlineSuggest.hide');
  await editor.edit((builder) => builder.replace(all, text));
  const position = document.positionAt(offset);
  editor.selection = new vscode.Selection(position, position);
  // Keys go to where the window shows the cursor.
  await delay(500);
  return editor;
};
const beginning = '/** Adds up a list of numbers. */\nexport function sum(values: readonly number[]): number {\n  ';

export const run = suite([
  test('show while one types', async () => {
    await activate();
    document = await vscode.workspace.openTextDocument(fileUri('sums.ts'));
    await editorAt(beginning);
    await ask({ do: 'type', text: 'let' });
    await shown();
    await until('the keys', () => document.getText().endsWith('  let'));
  }),

  test('are taken whole with Tab, and show their exits there', async () => {
    // A key that comes while one suggestion gives way to the next is an indentation, as for any person.
    for (let tries = 0; tries < 5; tries++) {
      await editorAt(beginning);
      await ask({ do: 'type', text: 'let' });
      await shown();
      await press('Tab');
      await delay(500);
      if (document.getText().trimEnd().length > `${beginning}let`.length) break;
    }
    await until('lenses', async () => {
      const lenses = await vscode.commands.executeCommand<vscode.CodeLens[]>(
        'vscode.executeCodeLensProvider',
        document.uri,
        100,
      );
      return lenses.some(({ command }) => command?.command.startsWith('earlyExit.'));
    });
  }),

  test('give way to other words, and are not asked again for the same place', async () => {
    await editorAt(beginning);
    await ask({ do: 'type', text: 'let' });
    const first = await shown();
    await ask({ do: 'type', text: 'XYZ' });
    await until('other ghost text, or none', async () => (await ghostText()).trim() !== first);
    await editorAt(`${beginning}le`);
    await ask({ do: 'type', text: 't' });
    assert.equal(await shown(), first);
  }),

  test('have alternatives, for who asks for them', async () => {
    await editorAt(`${beginning}let `);
    await act('editor.action.inlineSuggest.trigger');
    const seen = new Set([await shown()]);
    for (let i = 0; i < 40 && seen.size < 2; i++) {
      await act('editor.action.inlineSuggest.showNext');
      await delay(500);
      seen.add((await ghostText()).trim());
      seen.delete('');
    }
    assert.ok(seen.size >= 2, [...seen].join(' | '));
    await act('editor.action.inlineSuggest.hide');
  }),

  test('do not repeat what stands behind the cursor', async () => {
    const suffix = ';\n  return total;\n}\n';
    const text = `${beginning}let total = ${suffix}`;
    await editorAt(text, text.length - suffix.length);
    await act('editor.action.inlineSuggest.trigger');
    await shown();
    await act('editor.action.inlineSuggest.commit');
    await until('taken text', () => document.getText() !== text);
    const taken = document.getText();
    assert.ok(taken.endsWith(suffix), taken);
    assert.doesNotMatch(taken.slice(0, -suffix.length), /;\s*$|return total;/);
  }),

  test('cost a keystroke little on the extension host, which is noted', async () => {
    const keys = 'total value mean sum list of all';
    const perKey = async (isOn: boolean): Promise<number> => {
      await set('completions.enabled', isOn);
      await editorAt(`${beginning}// `);
      const before = process.cpuUsage();
      await ask({ do: 'type', text: keys });
      const { user, system } = process.cpuUsage(before);
      return (user + system) / 1000 / keys.length;
    };
    const measured: Record<'on' | 'off', number[]> = { on: [], off: [] };
    for (let round = 0; round < 3; round++) {
      measured.off.push(await perKey(false));
      measured.on.push(await perKey(true));
    }
    const median = (values: number[]): string => values.sort((a, b) => a - b)[1]!.toFixed(2);
    note(`processor time a key: ${median(measured.on)} ms with completions, ${median(measured.off)} ms without`);
    // They were on.
    await shown();
  }),

  test('say in the status item that the model sees the text before alone', async () => {
    assert.match(await tooltip(), /typescript-5m has no tokens for filling in the middle/);
  }),

  test('are not offered in languages and comments that are left out', async () => {
    await set('completions.languages', ['*', '!typescript']);
    await editorAt(beginning);
    await ask({ do: 'type', text: 'let' });
    await delay(2_000);
    assert.equal(await ghostText(), '');
    await set('completions.languages', undefined);
    await set('completions.inComments', false);
    await editorAt(`${beginning}// Adds `);
    await ask({ do: 'type', text: 'all' });
    await delay(2_000);
    assert.equal(await ghostText(), '');
    await set('completions.inComments', undefined);
  }),

  test('are silent where the model is missing, and the status item says so', async () => {
    await set('model', '/nowhere/missing.gguf');
    await editorAt(beginning);
    await ask({ do: 'type', text: 'const' });
    await until('what is missing', async () => /missing\.gguf/.test(await tooltip()), 60);
    assert.equal(await ghostText(), '');
    await set('model', undefined);
    await ask({ do: 'type', text: ' a' });
    await shown();
  }),

  test('come from a model of any program here, which the pick lists with what is wrong with it', async () => {
    await madeUpModels();
    const picking = act('earlyExit.chooseModel');
    const rows = (): Promise<string> =>
      inWorkbench<string>(
        `[...document.querySelectorAll('.quick-input-list .monaco-list-row')].map((each) => each.textContent).join('\\n')`,
      );
    const find = async (words: string, wanted: RegExp): Promise<void> => {
      await ask({ do: 'type', text: words });
      await until(words, async () => wanted.test(await rows()));
      for (let i = 0; i < words.length; i++) await press('Backspace');
    };
    await until('the pick', async () => /typescript-5m/.test(await rows()));
    await find('tiny-Q8', /tiny-Q8_0.gguf.*Q8_0 · Hugging Face/);
    await find('coder:0.5b', /coder:0\.5b.*Ollama/);
    await find('studio-Q4', /studio-Q4_0\.gguf.*LM Studio/);
    await find('Qwen2.5-Coder', /Qwen2\.5-Coder 0\.5B.*for completions/);
    await ask({ do: 'type', text: 'halfdone' });
    await until('the half-written one', async () => /halfdone\.gguf is not whole/.test(await rows()));
    await press('Enter');
    await until('the reason', () =>
      inWorkbench<boolean>(
        `[...document.querySelectorAll('.notification-list-item-message')].some((each) => each.textContent.includes('halfdone.gguf is not whole'))`,
      ),
    );
    await picking;
    assert.equal(vscode.workspace.getConfiguration('earlyExit').get('model'), 'typescript-5m');
    await act('notifications.clearAll');
  }),

  test('stop at a click on the switch', async () => {
    await act('earlyExit.toggleCompletions');
    await until('the switch', () => settings().get('completions.enabled') === false);
    await editorAt(beginning);
    await nothingShown();
    await ask({ do: 'type', text: 'let' });
    await delay(2_000);
    assert.equal(await ghostText(), '');
    await act('earlyExit.toggleCompletions');
    await act('workbench.action.files.revert');
  }),
]);
