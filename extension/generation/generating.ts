/** The commands around a generation: generate at the cursor, stop, and save the trace. */
import * as vscode from 'vscode';
import { serialiseTrace } from '../../protocol/exittrace.ts';
import { completionOptions } from '../../protocol/options/completions.ts';
import { shippedModel } from '../../protocol/options/groups.ts';
import type { GenerateResult, RecipeOptions } from '../../protocol/server.ts';
import type { App } from '../app.ts';
import { placeOf } from '../completions/place.ts';
import { currentScope, inTrustedFolder } from '../settings/folders.ts';
import type { GeneratedText } from './generated-text.ts';
import type { Source } from './generations.ts';
import { showFailure } from '../messages.ts';
import { exitsInUse } from '../models/model-and-exits.ts';
import { requireModel } from '../models/models-at-hand.ts';
import { recipeSettings } from '../settings/settings.ts';

let current: vscode.CancellationTokenSource | null = null;
/** The end of the generation that began last: the next one waits for it. */
let ended: Promise<unknown> = Promise.resolve();

/** `Generate with Early Exits`. Returns null if nothing was written. */
export async function generateAtCursor(app: App, overrides: RecipeOptions = {}): Promise<GenerateResult | null> {
  const editor = await editorToFill();
  if (!editor) {
    void vscode.window.showInformationMessage(
      vscode.l10n.t('Open a file and put the cursor where text should continue.'),
    );
    return null;
  }
  return intoEditor(app, editor, overrides, null);
}

/** Continues a generation at its end, with its own model, exits and other options. Returns null if the generation is gone or nothing was written. */
export async function continueGeneration(app: App, id: string): Promise<GenerateResult | null> {
  const generated = app.generations.find(id);
  const editor = vscode.window.visibleTextEditors.find(({ document }) => document.uri.toString() === generated?.uri);
  if (!generated || !editor) return null;
  const end = editor.document.positionAt(generated.span.end);
  editor.selection = new vscode.Selection(end, end);
  return intoEditor(app, editor, generated.overrides ?? {}, generated.id);
}

async function intoEditor(
  app: App,
  editor: vscode.TextEditor,
  overrides: RecipeOptions,
  continued: string | null,
): Promise<GenerateResult | null> {
  current?.cancel();
  const source = (current = new vscode.CancellationTokenSource());
  const writing = ended.then(() => write(app, editor, overrides, continued, source));
  ended = writing.catch(() => null);
  return writing;
}

/** Writes into an editor; a failure is shown. */
async function write(
  app: App,
  editor: vscode.TextEditor,
  overrides: RecipeOptions,
  continued: string | null,
  source: vscode.CancellationTokenSource,
): Promise<GenerateResult | null> {
  const selectionNow = selectionThen(editor);
  await vscode.commands.executeCommand('setContext', 'earlyExit.generating', true);
  try {
    const options = await generateOptions(app, editor.document.uri, overrides);
    const selection = continued === null ? selectionNow() : endOf(app, editor.document, continued);
    if (selection === null || source.token.isCancellationRequested) return null;
    const { model = shippedModel, exits = null } = options;
    const more = { continued, overrides: { model, exits, ...overrides } };
    const place = placeOrPrompt(editor.document, selection);
    return await app.generations.intoEditor(editor, place, options, source.token, more);
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

/** The selection at the time of the call, to be read later; once the document has been edited, the one that is there then. */
function selectionThen(editor: vscode.TextEditor): () => vscode.Selection {
  const { selection, document } = editor;
  const { version } = document;
  return () => (document.version === version ? selection : editor.selection);
}

/** The end of a generation as an empty selection; null if the generation is gone. */
function endOf(app: App, document: vscode.TextDocument, id: string): vscode.Selection | null {
  const generated = app.generations.find(id);
  if (generated?.uri !== document.uri.toString()) return null;
  const end = document.positionAt(generated.span.end);
  return new vscode.Selection(end, end);
}

/** The active editor; if a panel is active, a visible editor, which then becomes active. */
async function editorToFill(): Promise<vscode.TextEditor | undefined> {
  const { activeTextEditor, visibleTextEditors } = vscode.window;
  if (activeTextEditor) return activeTextEditor;
  const shown = visibleTextEditors.find(({ document }) => document.languageId !== 'exittrace');
  return shown && vscode.window.showTextDocument(shown.document, shown.viewColumn);
}

export function stopGeneration(): void {
  current?.cancel();
}

/**
 * Options of a generation: those given, else the settings; without named exits, the newest that were tuned for the model here. A model that
 * is not here is downloaded.
 * @throws CancellationError if the user stopped the download.
 */
export async function generateOptions(
  app: App,
  scope = currentScope(),
  overrides: RecipeOptions = {},
): Promise<RecipeOptions> {
  const options = await withoutGpu(app, { ...recipeSettings('generate', scope), ...overrides });
  const { model } = inTrustedFolder(options, scope);
  if (typeof model === 'string') await requireModel(app, model);
  const own = typeof overrides['model'] === 'string' ? overrides['model'] : undefined;
  const exits = 'exits' in overrides ? null : await exitsInUse(app, scope, own);
  return exits === null ? options : { ...options, exits };
}

/** Saves the trace at the cursor, or the document's last one. */
export async function saveTrace(app: App): Promise<void> {
  const editor = vscode.window.activeTextEditor;
  const trace = editor && generatedAt(app, editor)?.trace;
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

/** The generation at the cursor, else the document's last one. */
export function generatedAt(app: App, editor: vscode.TextEditor): GeneratedText | undefined {
  const offset = editor.document.offsetAt(editor.selection.active);
  const all = app.generations.in(editor.document.uri);
  return all.find(({ span }) => offset >= span.start && offset <= span.end) ?? all.at(-1);
}

/** The text around the cursor; a selection is the prompt instead, and the text follows it. */
function placeOrPrompt(document: vscode.TextDocument, selection: vscode.Selection): Source {
  const at = document.offsetAt(selection.end);
  if (!selection.isEmpty) return { at, prompt: document.getText(selection).replaceAll('\r\n', '\n') };
  const { prefixTokens, suffixTokens } = completionOptions;
  const budget = { prefixTokens: prefixTokens.default as number, suffixTokens: suffixTokens.default as number };
  const place = placeOf(document, selection.active, { selectedCompletionInfo: undefined }, budget);
  const { around, repository, file } = place;
  return { at, prompt: around.prefix, gap: { ...around, repository, file, chunks: [] } };
}

/** VS Code's own runtime loads no drivers of GPUs: if the backend runs in it, `auto` means the CPU. Starts the backend. */
export async function withoutGpu(app: App, options: RecipeOptions): Promise<RecipeOptions> {
  await app.backend.start();
  if (app.backend.runtime()?.source !== 'editor') return options;
  const { device = 'auto' } = options;
  if (device === 'cpu') return options;
  if (device !== 'auto')
    app.backend.log.warn("A GPU needs a Node of its own: VS Code's runtime loads no drivers. The CPU is used.");
  return { ...options, device: 'cpu' };
}
