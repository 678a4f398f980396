/** Generating at the cursor: tokens with lenses, hovers and colours, which follow edits and go when the text is edited. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import * as vscode from 'vscode';
import { serialiseTrace } from '../../../protocol/exittrace.ts';
import { parseTrace } from '../../../protocol/trace-reading.ts';
import { shades, tokenShade, tokenType } from '../../../protocol/palette.ts';
import type { GenerateResult } from '../../../protocol/server.ts';
import { inView, inWorkbench, until } from '../harness/driver.ts';
import {
  activate,
  EXTENSION_ID,
  fileUri,
  pictures,
  runIs,
  withBackendStopped,
  workspaceFolder,
} from '../harness/extension.ts';
import { suite, test } from '../harness/suite.ts';

const lensesOf = async (uri: vscode.Uri): Promise<vscode.CodeLens[]> => {
  const all = await vscode.commands.executeCommand<vscode.CodeLens[]>('vscode.executeCodeLensProvider', uri, 100);
  return all.filter((lens) => lens.command?.command === 'earlyExit.showDetails');
};
const hoverAt = async (uri: vscode.Uri, position: vscode.Position): Promise<string> => {
  const hovers = await vscode.commands.executeCommand<vscode.Hover[]>('vscode.executeHoverProvider', uri, position);
  return hovers
    .flatMap(({ contents }) => contents.map((each) => (typeof each === 'string' ? each : each.value)))
    .join('\n');
};

/** Colours of the lines under generated tokens on the screen, with how often each is there. */
const decorationColours = (): Promise<Record<string, number>> =>
  inWorkbench(
    `(() => { const found = {}; for (const each of document.querySelectorAll('.view-overlays .cdr, .view-line span span')) { const { borderBottomColor: colour, borderBottomWidth: width } = getComputedStyle(each); if (Number.parseFloat(width) > 0 && /ced-/.test(each.className)) found[colour] = (found[colour] ?? 0) + 1; } return found; })()`,
  );

const original = (): string => readFileSync(path.join(workspaceFolder(), 'sums.ts'), 'utf8');
/** What is written behind the text in the pictures. */
const pictured = `  return values.length === 0 ? 0 : sum(values) / values.length;
}

/** The median of a list of numbers. */
export function median(values: readonly number[]): number {
`;
const EXITS = ['4:lens', '6:lens', '8:lens', '10:lens', 'final'];
const TOKENS = 90;
let result: GenerateResult;
let document: vscode.TextDocument;
let start = 0;

export const run = suite([
  test('has exits tuned on this folder', async () => {
    const api = await activate();
    const run = await api.startRun({});
    assert.ok(run);
    await runIs(api, run.id, ['finished'], 110);
    await vscode.commands.executeCommand('workbench.action.closeAllEditors');
  }),

  test('streams tokens in at the cursor, each with its exit', async () => {
    const api = await activate();
    const editor = await vscode.window.showTextDocument(fileUri('sums.ts'));
    ({ document } = editor);
    start = document.getText().length;
    const end = document.positionAt(start);
    editor.selection = new vscode.Selection(end, end);
    const seen: number[] = [];
    const watch = vscode.workspace.onDidChangeTextDocument(({ contentChanges }) => seen.push(contentChanges.length));
    result = (await api.generateAtCursor({
      maxTokens: TOKENS,
      stopRepetition: false,
      mode: 'fast',
      threshold: '0.3',
      repetitionPenalty: 1.25,
    }))!;
    watch.dispose();
    assert.ok(result, 'something was generated');
    const text = result.trace.tokens.map((token) => token.text).join('');
    assert.equal(document.getText().slice(start), text);
    assert.ok(result.trace.tokens.length > 0 && result.trace.tokens.length <= TOKENS + 48);
    assert.equal(result.trace.layers, 12);
    assert.deepEqual(result.trace.exits, EXITS);
    assert.ok(seen.length > 1, `it came in ${seen.length} edits`);
    for (const token of result.trace.tokens) assert.ok(EXITS.includes(token.exit));
    assert.ok(result.meanLayer < 12, `mean layer ${result.meanLayer}`);
  }),

  test('has one lens in plain words, above its first line that is not blank', async () => {
    const lenses = await until('lenses', async () => {
      const found = await lensesOf(document.uri);
      return found.length > 0 ? found : null;
    });
    const [first] = lenses;
    assert.equal(
      first!.range.start.line,
      document.positionAt(start + document.getText().slice(start).search(/\S/)).line,
    );
    const count = result.trace.tokens.length;
    assert.match(
      first!.command!.title,
      new RegExp(`^${count} tokens · (about \\d+\\.\\d× full depth|\\d+\\.\\d of 12 layers) · leave at [\\d, and]+ ▾$`),
    );
    assert.equal(lenses.filter(({ command }) => / leave at /.test(command!.title)).length, 1);
  }),

  test('says model and speed in the status bar', () =>
    until('the status item', () =>
      inWorkbench<boolean>(
        `/typescript-5m · generated at [\\d.]+ tokens\\/s/.test([...document.querySelectorAll('.statusbar-item')].find((item) => /early-exit/.test(item.id))?.textContent)`,
      ),
    ).then(() => {})),

  test('says on hover what every exit predicted', async () => {
    const [first] = result.trace.tokens;
    // Exits are read behind the text.
    await until('every exit', async () => {
      const text = await hoverAt(document.uri, document.positionAt(start));
      assert.ok(text.includes(`**Layer ${first!.layer} of 12**`), text);
      return EXITS.every((exit) => text.includes(exit));
    });
  }),

  test('colours tokens by their depth, and pictures it', async () => {
    const editor = vscode.window.activeTextEditor!;
    editor.revealRange(
      new vscode.Range(document.positionAt(start), document.positionAt(start)),
      vscode.TextEditorRevealType.AtTop,
    );
    const colours = await until('decorations', async () => {
      const found = await decorationColours();
      return Object.keys(found).length > 0 ? found : null;
    });
    const shown = new Set(result.trace.tokens.map((token) => tokenShade(token, EXITS)));
    assert.ok(shown.has('final') && shown.size > 2, [...shown].join(' '));
    assert.equal(Object.keys(colours).length, shown.size, JSON.stringify(colours));
    await pictures('colours');
  }),

  test('keeps lenses and hovers right while the user edits around the text', async () => {
    const before = await lensesOf(document.uri);
    const edit = new vscode.WorkspaceEdit();
    edit.insert(document.uri, new vscode.Position(0, 0), '// one\n// two\n');
    edit.insert(document.uri, document.positionAt(document.getText().length), '\n// the end\n');
    await vscode.workspace.applyEdit(edit);
    const after = await until('moved lenses', async () => {
      const found = await lensesOf(document.uri);
      return found[0]?.range.start.line === before[0]!.range.start.line + 2 ? found : null;
    });
    assert.deepEqual(
      after.map((lens) => [lens.range.start.line - 2, lens.range.start.character, lens.command?.title]),
      before.map((lens) => [lens.range.start.line, lens.range.start.character, lens.command?.title]),
    );
    const moved = start + '// one\n// two\n'.length;
    assert.match(await hoverAt(document.uri, document.positionAt(moved)), /\*\*Layer \d+ of 12\*\*/);
    assert.doesNotMatch(await hoverAt(document.uri, new vscode.Position(0, 3)), /\*\*Layer/);
  }),

  test('opens the details from a lens', async () => {
    const [lens] = await lensesOf(document.uri);
    const { command, arguments: given = [] } = lens!.command!;
    await vscode.commands.executeCommand(command, ...(given as unknown[]));
    const count = await until('the details', () =>
      inView<number>('details', `document.querySelectorAll('.token').length || null`).catch(() => null),
    );
    assert.equal(count, result.trace.tokens.length);
    const rows = await inView<string[]>(
      'details',
      `[...document.querySelectorAll('.opinions tbody th')].map((cell) => cell.textContent)`,
    );
    assert.deepEqual(rows, EXITS);
    await pictures('details');
    await vscode.commands.executeCommand('workbench.action.closeEditorsInOtherGroups');
  }),

  test('switches lenses and hovers off one by one', async () => {
    const configuration = vscode.workspace.getConfiguration('earlyExit.display');
    await configuration.update('codeLens', false, vscode.ConfigurationTarget.Global);
    await until('no lenses', async () => (await lensesOf(document.uri)).length === 0);
    const moved = document.positionAt(start + '// one\n// two\n'.length);
    assert.match(await hoverAt(document.uri, moved), /\*\*Layer/);
    await configuration.update('hover', false, vscode.ConfigurationTarget.Global);
    await until('no hover', async () => !/\*\*Layer/.test(await hoverAt(document.uri, moved)));
    await configuration.update('colours', false, vscode.ConfigurationTarget.Global);
    await until('no colours', async () => Object.keys(await decorationColours()).length === 0);
    for (const name of ['codeLens', 'hover', 'colours']) {
      await configuration.update(name, undefined, vscode.ConfigurationTarget.Global);
    }
    await until('lenses again', async () => (await lensesOf(document.uri)).length > 0);
  }),

  test('forgets the trace once the text itself is edited', async () => {
    const edit = new vscode.WorkspaceEdit();
    edit.insert(document.uri, document.positionAt(start + '// one\n// two\n'.length + 1), '!');
    await vscode.workspace.applyEdit(edit);
    await until('no lenses', async () => (await lensesOf(document.uri)).length === 0);
    await vscode.window.showTextDocument(document);
    await vscode.commands.executeCommand('workbench.action.files.revert');
  }),

  test('shows by default what drafted the tokens that the full model verified', async () => {
    const api = await activate();
    const editor = await vscode.window.showTextDocument(document);
    const end = document.positionAt(start);
    // The clock decides whether drafts pay, and other programs disturb it.
    const { made, guessed } = await until('a text with drafts', async () => {
      if (document.isDirty) await vscode.commands.executeCommand('workbench.action.files.revert');
      editor.selection = new vscode.Selection(end, end);
      const text = (await api.generateAtCursor({ mode: 'lossless', maxTokens: TOKENS }))!;
      const right = text.trace.tokens.findIndex(({ draft, text: own }) => draft?.accepted && own.trim() !== '');
      return right >= 0 ? { made: text, guessed: right } : null;
    });
    assert.ok(made.trace.tokens.every(({ exit }) => exit === 'final'));
    const lenses = await until('lenses', async () => {
      const found = await lensesOf(document.uri);
      return found.length > 0 ? found : null;
    });
    for (const lens of lenses) {
      assert.match(lens.command!.title, /drafted by .*, verified by the full model ▾$|· all 12 layers ▾$|^ended: /);
    }
    const before = made.trace.tokens.slice(0, guessed).map(({ text }) => text);
    const text = await hoverAt(document.uri, document.positionAt(start + before.join('').length));
    assert.match(text, /drafted by (exit \d+:lens|the earlier text), verified by the full model/);
    assert.match(text, /The full model verifies every draft/);
    await pictures('lossless');
    await vscode.commands.executeCommand('workbench.action.files.revert');
  }),

  test('is undone in one step', async () => {
    const api = await activate();
    const editor = await vscode.window.showTextDocument(document);
    assert.equal(document.getText(), original());
    const end = document.positionAt(start);
    editor.selection = new vscode.Selection(end, end);
    await api.generateAtCursor({ maxTokens: 12 });
    assert.notEqual(document.getText(), original());
    await vscode.commands.executeCommand('undo');
    assert.equal(document.getText(), original());
    await until('no lenses', async () => (await lensesOf(document.uri)).length === 0);
  }),

  test('is undone in one step also if the file saves itself meanwhile, and keeps its lens', async () => {
    const api = await activate();
    const files = vscode.workspace.getConfiguration('files');
    await files.update('autoSaveDelay', 1, vscode.ConfigurationTarget.Global);
    await files.update('autoSave', 'afterDelay', vscode.ConfigurationTarget.Global);
    const editor = await vscode.window.showTextDocument(document);
    const end = document.positionAt(start);
    editor.selection = new vscode.Selection(end, end);
    let saves = 0;
    const watch = vscode.workspace.onDidSaveTextDocument(() => saves++);
    // However quick it is, it has not ended when its first words are saved.
    let saved = Promise.resolve();
    const first = vscode.workspace.onDidChangeTextDocument(() => {
      first.dispose();
      saved = withBackendStopped(() => until('the file to save itself', () => saves > 0));
    });
    try {
      const made = (await api.generateAtCursor({ maxTokens: TOKENS, stopRepetition: false, mode: 'fast' }))!;
      await saved;
      assert.equal(document.getText().slice(start), made.trace.tokens.map(({ text }) => text).join(''));
      await until('a lens', async () => (await lensesOf(document.uri)).length === 1);
      assert.match(await hoverAt(document.uri, document.positionAt(start)), /\*\*Layer/);
      await until('the last save', () => !document.isDirty && original() === document.getText());
      await vscode.commands.executeCommand('undo');
      assert.equal(document.getText().slice(start), '');
      await until('no lenses', async () => (await lensesOf(document.uri)).length === 0);
      await until('the file as it was', () => !document.isDirty && original() === document.getText());
    } finally {
      first.dispose();
      watch.dispose();
      await files.update('autoSave', 'off', vscode.ConfigurationTarget.Global);
      await files.update('autoSaveDelay', undefined, vscode.ConfigurationTarget.Global);
    }
  }),

  test('stays with a new file that is saved under a name, and renamed', async () => {
    const api = await activate();
    const [first, second] = [fileUri('named.ts'), fileUri('renamed.ts')];
    const unnamed = await vscode.workspace.openTextDocument(first.with({ scheme: 'untitled' }));
    const editor = await vscode.window.showTextDocument(unnamed);
    await editor.edit((builder) => builder.insert(new vscode.Position(0, 0), original()));
    const { trace } = (await api.generateAtCursor({ maxTokens: 12 }))!;
    await until('a lens', async () => (await lensesOf(unnamed.uri)).length > 0);
    const stays = async (uri: vscode.Uri): Promise<void> => {
      await until(`a lens in ${uri.path}`, async () => (await lensesOf(uri)).length > 0);
      const document = await vscode.workspace.openTextDocument(uri);
      assert.ok(document.getText().endsWith(trace.tokens.map(({ text }) => text).join('')));
      assert.match(await hoverAt(uri, document.positionAt(original().length)), /\*\*Layer/);
    };
    assert.ok(await unnamed.save());
    await stays(first);
    const renaming = new vscode.WorkspaceEdit();
    renaming.renameFile(first, second);
    assert.ok(await vscode.workspace.applyEdit(renaming));
    await stays(second);
    await vscode.commands.executeCommand('workbench.action.closeActiveEditor');
  }),

  test('is written to its end though one types elsewhere and the document gets another language', async () => {
    const api = await activate();
    const untitled = await vscode.workspace.openTextDocument({ language: 'plaintext', content: original() });
    const editor = await vscode.window.showTextDocument(untitled);
    const end = untitled.positionAt(untitled.getText().length);
    editor.selection = new vscode.Selection(end, end);
    const grown: string[] = [];
    const asides: Thenable<unknown>[] = [];
    const watch = vscode.workspace.onDidChangeTextDocument(({ document: changed }) => {
      if (changed !== untitled || grown.push(changed.getText()) > 8) return;
      const edit = new vscode.WorkspaceEdit();
      if (grown.length % 2 === 1) edit.insert(untitled.uri, new vscode.Position(0, 0), '/');
      asides.push(vscode.workspace.applyEdit(edit));
      if (grown.length === 1) asides.push(vscode.languages.setTextDocumentLanguage(untitled, 'typescript'));
    });
    const written = await api.generateAtCursor({ maxTokens: TOKENS, stopRepetition: false, mode: 'full' });
    watch.dispose();
    await Promise.all(asides);
    const text = written!.trace.tokens.map((token) => token.text).join('');
    assert.equal(untitled.languageId, 'typescript');
    assert.match(untitled.getText(), /^\/+/);
    assert.ok(untitled.getText().endsWith(text), untitled.getText());
    await until('its lens', async () => (await lensesOf(untitled.uri)).length > 0);
    assert.notEqual(await hoverAt(untitled.uri, untitled.positionAt(untitled.getText().length - 1)), '');
    await vscode.commands.executeCommand('workbench.action.revertAndCloseActiveEditor');
  }),

  test('looks so, in every theme', async () => {
    const api = await activate();
    // The pictures of the documentation are of a model that people use; the one that ships shows as much to a test.
    const { EARLY_EXIT_PICTURE_MODEL: model, EARLY_EXIT_PICTURE_EXITS: exits } = process.env;
    const configuration = vscode.workspace.getConfiguration('earlyExit');
    if (model) await configuration.update('model', model, vscode.ConfigurationTarget.Global);
    const editor = await vscode.window.showTextDocument(document);
    await editor.edit((builder) => builder.insert(document.positionAt(start), pictured));
    const end = document.positionAt(document.getText().length);
    editor.selection = new vscode.Selection(end, end);
    assert.ok(await api.generateAtCursor({ mode: 'fast', threshold: '0.95', ...(model && exits && { exits }) }));
    await until('a lens', async () => (await lensesOf(document.uri)).length > 0);
    await pictures('editor');
    await vscode.commands.executeCommand('workbench.action.files.revert');
    await configuration.update('model', 'typescript-5m', vscode.ConfigurationTarget.Global);
  }),

  test('opens a saved trace with lenses, hovers, an outline and its own colours', async () => {
    const file = path.join(workspaceFolder(), 'generation.exittrace');
    writeFileSync(file, serialiseTrace(result.trace));
    const opened = await vscode.workspace.openTextDocument(file);
    assert.equal(opened.languageId, 'exittrace');
    assert.deepEqual(parseTrace(opened.getText()).trace, result.trace);
    await vscode.window.showTextDocument(opened);
    const lenses = await until('lenses', async () => {
      const found = await lensesOf(opened.uri);
      return found.length > 0 ? found : null;
    });
    assert.match(lenses[0]!.command!.title, / tokens? /);
    assert.match(await hoverAt(opened.uri, lenses[0]!.range.start), /\*\*Layer/);
    const outline = await vscode.commands.executeCommand<vscode.DocumentSymbol[]>(
      'vscode.executeDocumentSymbolProvider',
      opened.uri,
    );
    assert.ok(outline.length >= lenses.length);
    assert.equal(
      outline.reduce((sum, line) => sum + line.children.length, 0),
      result.trace.tokens.length,
    );
    const legend = await vscode.commands.executeCommand<vscode.SemanticTokensLegend>(
      'vscode.provideDocumentSemanticTokensLegend',
      opened.uri,
    );
    assert.deepEqual(legend.tokenTypes, shades.map(tokenType));
    await pictures('trace');
  }),

  test('has ticked the steps of the walkthrough that were done: tuned, curves, generated, looked at, model', async () => {
    await vscode.commands.executeCommand('workbench.action.openWalkthrough', `${EXTENSION_ID}#start`, false);
    const ticked = `[...document.querySelectorAll('.getting-started-step')].map((step) => step.querySelector('.codicon.complete') !== null)`;
    const steps = await until('ticks', async () => {
      const all = await inWorkbench<boolean[]>(ticked);
      return all.length > 0 && all.slice(0, 5).every(Boolean) ? all : null;
    });
    // The last one is for a completion that was taken, and none was.
    assert.deepEqual(steps, [true, true, true, true, true, false]);
    await vscode.commands.executeCommand('workbench.action.closeActiveEditor');
  }),

  test('names the line of a trace that is wrong', async () => {
    const file = fileUri('broken.exittrace');
    writeFileSync(file.fsPath, 'exittrace 1\nlayers many\n');
    await vscode.window.showTextDocument(file);
    const [problem] = await until('a diagnostic', () => {
      const found = vscode.languages.getDiagnostics(file);
      return found.length > 0 ? found : null;
    });
    assert.equal(problem!.message, 'broken.exittrace, line 2: expected a number of layers.');
    assert.equal(problem!.range.start.line, 1);
  }),
]);
