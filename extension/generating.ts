/** The commands around a generation: generate at the cursor, stop, and save the trace. */
import * as vscode from 'vscode';
import { shippedModel } from '../protocol/options-groups.ts';
import { serialiseTrace, type Trace } from '../protocol/exittrace.ts';
import type { GenerateResult, RecipeOptions } from '../protocol/server.ts';
import type { App } from './app.ts';
import { showFailure } from './messages.ts';
import { exitsInUse } from './model-and-exits.ts';
import { windowStart } from './prompt-window.ts';
import { recipeSettings } from './settings.ts';

/** Characters before the cursor that become the prompt: what fits a context of 512 tokens beside the answer, and of 4,096. */
const PROMPT_CHARACTERS = { shipped: 1_000, other: 8_000 };

let current: vscode.CancellationTokenSource | null = null;

/** `Generate with Early Exits`. Answers null where nothing came. */
export async function generateAtCursor(app: App, overrides: RecipeOptions = {}): Promise<GenerateResult | null> {
  const editor = await editorToFill();
  if (!editor) {
    void vscode.window.showInformationMessage(vscode.l10n.t('Open a file and put the cursor where text should go on.'));
    return null;
  }
  current?.cancel();
  const source = (current = new vscode.CancellationTokenSource());
  await vscode.commands.executeCommand('setContext', 'earlyExit.generating', true);
  try {
    const options = { ...(await generateOptions(app, editor.document.uri)), ...overrides };
    return await app.generations.intoEditor(editor, promptOf(editor, options), options, source.token);
  } catch (error) {
    if (!source.token.isCancellationRequested) showFailure(app, error);
    return null;
  } finally {
    source.dispose();
    if (current === source) {
      current = null;
      await vscode.commands.executeCommand('setContext', 'earlyExit.generating', false);
    }
  }
}

/** The editor in front; beside a panel in front, one that is shown, which comes to the front. */
async function editorToFill(): Promise<vscode.TextEditor | undefined> {
  const { activeTextEditor, visibleTextEditors } = vscode.window;
  if (activeTextEditor) return activeTextEditor;
  const shown = visibleTextEditors.find(({ document }) => document.languageId !== 'exittrace');
  return shown && vscode.window.showTextDocument(shown.document, shown.viewColumn);
}

export function stopGeneration(): void {
  current?.cancel();
}

/** Settings for a generation; without named exits, the newest that were tuned for the model here. */
export async function generateOptions(app: App, uri?: vscode.Uri): Promise<RecipeOptions> {
  const options = await withoutGpu(app, recipeSettings('generate', uri));
  const exits = await exitsInUse(app, uri);
  return exits === null ? options : { ...options, exits };
}

/** Saves the trace at the cursor, or the document's last one. */
export async function saveTrace(app: App): Promise<void> {
  const editor = vscode.window.activeTextEditor;
  const trace = editor && traceIn(app, editor);
  if (!trace) return;
  const folder = vscode.workspace.workspaceFolders?.[0]?.uri;
  const target = await vscode.window.showSaveDialog({
    filters: { [vscode.l10n.t('Exit Trace')]: ['exittrace'] },
    ...(folder && { defaultUri: vscode.Uri.joinPath(folder, 'generation.exittrace') }),
  });
  if (!target) return;
  await vscode.workspace.fs.writeFile(target, Buffer.from(serialiseTrace(trace)));
  await vscode.window.showTextDocument(target, { viewColumn: vscode.ViewColumn.Beside });
}

/** Whether text is being generated into an editor. */
export const isGenerating = (): boolean => current !== null;

function traceIn(app: App, editor: vscode.TextEditor): Trace | undefined {
  const offset = editor.document.offsetAt(editor.selection.active);
  const all = app.generations.in(editor.document.uri);
  return (all.find(({ span }) => offset >= span.start && offset <= span.end) ?? all.at(-1))?.trace;
}

function promptOf(editor: vscode.TextEditor, options: RecipeOptions): string {
  const { document, selection } = editor;
  return selection.isEmpty ? textBefore(document, selection.active, options) : document.getText(selection);
}

function textBefore(document: vscode.TextDocument, position: vscode.Position, { model }: RecipeOptions): string {
  const limit = model === undefined || model === shippedModel ? PROMPT_CHARACTERS.shipped : PROMPT_CHARACTERS.other;
  const end = document.offsetAt(position);
  const whole = document.getText();
  const text = whole.slice(windowStart(whole, end, limit), end).replaceAll('\r\n', '\n');
  return text === '' ? '\n' : text;
}

/** VS Code's own runtime loads no drivers of GPUs: where the backend runs in it, `auto` means the CPU. Starts the backend. */
export async function withoutGpu(app: App, options: RecipeOptions): Promise<RecipeOptions> {
  await app.backend.start();
  if (app.backend.runtime()?.source !== 'editor') return options;
  const { device = 'auto' } = options;
  if (device === 'cpu') return options;
  if (device !== 'auto')
    app.backend.log.warn("A GPU needs a Node of its own: VS Code's runtime loads no drivers. The CPU is used.");
  return { ...options, device: 'cpu' };
}
