/** Completions as a user meets them: they show, are taken, cycle, give way to typing, and say what they lack. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import * as vscode from 'vscode';
import { ask, delay, idle, inWorkbench, press, until } from '../harness/driver.ts';
import {
  activate,
  EXTENSION_ID,
  fileUri,
  pictures,
  placeCursor,
  backendRests,
  withBackendStopped,
} from '../harness/extension.ts';
import { suite, test } from '../harness/suite.ts';

const settings = (): vscode.WorkspaceConfiguration => vscode.workspace.getConfiguration('earlyExit');
const set = (name: string, value: unknown): Thenable<void> =>
  settings().update(name, value, vscode.ConfigurationTarget.Global);

/** What stands greyed in the editor; empty if nothing does. */
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
      if (first === '') return null;
      await delay(600);
      return (await ghostText()).trim() === first ? first : null;
    },
    60,
  );
/** What of it stands on the cursor's line. */
async function shownOnLine(): Promise<string> {
  await shown();
  const text = await inWorkbench<string>(
    `[...document.querySelectorAll('.view-line .ghost-text-decoration')].map((each) => each.textContent).join('')`,
  );
  return text.replaceAll('\u00a0', ' ');
}

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
  document = await vscode.workspace.openTextDocument(fileUri('sums.ts'));
  const editor = await vscode.window.showTextDocument(document);
  const all = new vscode.Range(document.positionAt(0), document.positionAt(document.getText().length));
  await act('editor.action.inlineSuggest.hide');
  await editor.edit((builder) => builder.replace(all, text));
  const position = document.positionAt(offset);
  editor.revealRange(new vscode.Range(position, position));
  await placeCursor(editor, position);
  // Keys go to where the window shows the cursor, and only there.
  const place = `Ln ${position.line + 1}, Col ${position.character + 1}`;
  await until(`the cursor at ${place}`, () =>
    inWorkbench<boolean>(
      `document.getElementById('status.editor.selection')?.textContent === ${JSON.stringify(place)} && document.activeElement?.closest('.editor-instance') != null`,
    ),
  );
  return editor;
};
const beginning = '/** Adds up a list of numbers. */\nexport function sum(values: readonly number[]): number {\n  ';

const pictured = {
  before: `/** Adds up a list of numbers. */
export function sum(values: readonly number[]): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

/** The mean of a list of numbers; 0 if there are none. */
export function mean(values: readonly number[]): number {
  `,
  behind: `
}

/** The distance of the smallest from the largest. */
export function range(values: readonly number[]): number {
  return Math.max(...values) - Math.min(...values);
}
`,
};

export const run = suite([
  test('show while one types', async () => {
    await activate();
    await editorAt(beginning);
    await idle();
    await ask({ do: 'type', text: 'let' });
    await shown();
    await until('the keys', () => document.getText().endsWith('  let'));
    await ask({ do: 'screenshot', name: 'shown' });
  }),

  test('are taken by the word, by the line and whole, and what is left stays without being asked for', async () => {
    await editorAt(beginning);
    await ask({ do: 'type', text: 'while' });
    const whole = await shownOnLine();
    await backendRests();
    const typed = `${beginning}while`;
    await withBackendStopped(async () => {
      await press('Control+ArrowRight');
      const word = await until('a word', () => document.getText() !== typed && document.getText().slice(typed.length));
      assert.ok(whole.startsWith(word) && word.trim().length < whole.trim().length, JSON.stringify([word, whole]));
      // The editor draws what is left a moment later.
      await until('the rest', async () => word + (await shownOnLine()) === whole);
      // Not awaited: if only a line is left, its exits are sent to the backend.
      void act('editor.action.inlineSuggest.acceptNextLine');
      await until('the line', () => document.getText().slice(typed.length).startsWith(whole));
      assert.equal(document.getText().slice(typed.length).trimEnd(), whole);
      await ask({ do: 'screenshot', name: 'line-taken' });
    });
  }),

  test('are asked for ahead, as if what is shown were taken', async () => {
    await editorAt(beginning);
    await ask({ do: 'type', text: 'while' });
    await shown();
    await backendRests();
    await withBackendStopped(async () => {
      await press('Tab');
      await until('the text', () => document.getText().length > `${beginning}while`.length + 1);
      await shown();
      await ask({ do: 'screenshot', name: 'asked-ahead' });
    });
  }),

  test('have ticked their step of the walkthrough', async () => {
    await act('notifications.clearAll');
    await vscode.commands.executeCommand('workbench.action.openWalkthrough', `${EXTENSION_ID}#start`, false);
    const ticked = `[...document.querySelectorAll('.getting-started-step')].map((step) => step.querySelector('.codicon.complete') !== null)`;
    await until('the tick', async () => (await inWorkbench<boolean[]>(ticked)).at(-1));
    await ask({ do: 'screenshot', name: 'walkthrough' });
    await act('workbench.action.closeActiveEditor');
  }),

  test('show their exits where they were taken, above no blank line', async () => {
    const own = await until('lenses', async () => {
      const lenses = await vscode.commands.executeCommand<vscode.CodeLens[]>(
        'vscode.executeCodeLensProvider',
        document.uri,
        100,
      );
      const found = lenses.filter(({ command }) => command?.command.startsWith('earlyExit.'));
      return found.length > 0 && found;
    });
    for (const { range } of own) assert.notEqual(document.lineAt(range.start.line).text.trim(), '');
  }),

  test('give way to other words, and are not asked again for the same place', async () => {
    await editorAt(beginning);
    await ask({ do: 'type', text: 'let' });
    await until('the keys', () => document.getText().endsWith('let'));
    const first = await shown();
    await ask({ do: 'type', text: 'XYZ' });
    await until('other ghost text, or none', async () => (await ghostText()).trim() !== first);
    await editorAt(`${beginning}le`);
    await ask({ do: 'type', text: 't' });
    assert.equal(await shown(), first);
  }),

  test('become longer by themselves, until their line is whole, where the clock cut them off', async () => {
    // Only reading it takes longer than the limit.
    const long = Array.from({ length: 60 }, (_, i) => `export const size${i} = ${i} * scale;\n`).join('');
    // Behind the word of a list it is a preview.
    const isWhole = (): Promise<boolean> =>
      inWorkbench<boolean>(
        `[...document.querySelectorAll('.view-line [class*="ghost-text"]')].map((each) => each.textContent).join('').trimEnd().endsWith(';')`,
      );
    await set('completions.maxMilliseconds', 50);
    await editorAt(`${long}export const last`);
    await ask({ do: 'type', text: ' ' });
    await until('a whole line', isWhole);
    await ask({ do: 'screenshot', name: 'grown' });
    // Also behind the word that the list of suggestions has in focus.
    await editorAt(`${long.replaceAll('size', 'width')}export const depth = `);
    await ask({ do: 'type', text: 'wid' });
    await act('editor.action.triggerSuggest');
    await until('the list', () => inWorkbench<boolean>(`document.querySelector('.suggest-widget.visible') !== null`));
    await until('a whole line', isWhole);
    await ask({ do: 'screenshot', name: 'grown-behind-word' });
    await press('Escape');
    // What was put away stays away.
    await editorAt(`${long}\nexport const first`);
    await ask({ do: 'type', text: ' ' });
    await until('ghost text', async () => (await ghostText()).trim() !== '');
    await press('Escape');
    await nothingShown();
    await delay(2_000);
    assert.equal(await ghostText(), '');
    await set('completions.maxMilliseconds', 3_000);
  }),

  test('have alternatives, through which Alt+] goes', async () => {
    await editorAt(`${beginning}let `);
    await act('editor.action.inlineSuggest.trigger');
    const seen = new Set([await shown()]);
    for (let i = 0; i < 5 && seen.size < 3; i++) {
      await press('Alt+]');
      seen.add(await shown());
    }
    await ask({ do: 'screenshot', name: 'alternative' });
    assert.equal(seen.size, 3, [...seen].join(' | '));
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

  test('wait for a pause in typing as long as is set, but not if the user asks for one', async () => {
    await set('completions.debounceMilliseconds', 10_000);
    await editorAt(beginning);
    await ask({ do: 'type', text: 'const' });
    await delay(2_000);
    assert.equal(await ghostText(), '');
    await act('editor.action.inlineSuggest.trigger');
    await shown();
    await set('completions.debounceMilliseconds', undefined);
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

  test('look so, in every theme', async () => {
    // The pictures of the documentation are of a model that people use; the one that ships shows as much to a test.
    const model = process.env.EARLY_EXIT_PICTURE_MODEL;
    if (model) await set('model', model);
    await set('completions.maxMilliseconds', 20_000);
    await editorAt(pictured.before + pictured.behind, pictured.before.length);
    await act('editor.action.inlineSuggest.trigger');
    await shown();
    await pictures('completions');
    await act('editor.action.inlineSuggest.hide');
    if (model) await set('model', undefined);
    await set('completions.maxMilliseconds', 3_000);
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
