/** What is done to exits beside tuning: calibrating, evaluating, export and import, from the palette, the list or a message. */
import path from 'node:path';
import * as vscode from 'vscode';
import { userError } from '../../protocol/errors.ts';
import { modelBase } from '../../protocol/models.ts';
import { importOptions } from '../../protocol/options/commands.ts';
import { optionTables } from '../../protocol/options/options.ts';
import * as protocol from '../../protocol/server.ts';
import type { ExitsSummary, JobKind, JobOutcome, RecipeOptions } from '../../protocol/server.ts';
import type { App } from '../app.ts';
import { modelTitle } from '../models/choices.ts';
import { calibrationText, evaluationReport } from './exits-texts.ts';
import { freeExitsFolder, freePath, modelInFolder } from '../settings/folder-paths.ts';
import { currentFolder, folderOf } from '../settings/folders.ts';
import { withoutGpu } from '../generation/generating.ts';
import { offer } from '../messages.ts';
import { chosenModel, listExits, modelOfExits, useExits } from '../models/model-and-exits.ts';
import { browse } from '../models/model-pick.ts';
import { showPick } from '../models/pick.ts';
import { recipeSettings } from '../settings/settings.ts';
import { requireTrust } from '../settings/workspace-trust.ts';

export interface ExitsJobs {
  calibrate(exits: ExitsSummary | null): Promise<void>;
  evaluate(exits: ExitsSummary | null): Promise<void>;
  exportExit(exits: ExitsSummary | null): Promise<void>;
  importExits(): Promise<void>;
  /** The exits in a folder were calibrated, or are new there. */
  readonly onChange: vscode.Event<{ readonly directory: string; readonly outcomes: readonly JobOutcome[] }>;
}

let jobs = 0;

/** `showReport` shows Markdown under a name. */
export function createExitsJobs(app: App, showReport: (name: string, text: string) => Promise<void>): ExitsJobs {
  const changed = new vscode.EventEmitter<{ directory: string; outcomes: JobOutcome[] }>();
  app.context.subscriptions.push(changed);

  /** Null if the user dismissed the pick or the folder is not trusted. */
  const chooseExits = async (exits: ExitsSummary | null, title: string): Promise<ExitsSummary | null> => {
    if (!requireTrust()) return null;
    const all = exits ? [exits] : await listExits(app);
    if (all.length === 0)
      throw userError(
        'not-found',
        'There are no exits in this folder.',
        'Tune some, or import a model that was trained to leave early.',
      );
    if (all.length === 1) return all[0]!;
    const items = all.map((each) => ({ label: each.name, description: each.exits.join(' '), each }));
    return (await showPick(items, { title }))?.each ?? null;
  };
  const run = async (
    kind: JobKind,
    title: string,
    exits: ExitsSummary | null,
    folder: vscode.WorkspaceFolder | undefined,
    given: RecipeOptions,
  ): Promise<JobOutcome[] | null> => {
    const own = exits && 'data' in optionTables[kind] ? await dataOf(app, exits) : {};
    const settings = recipeSettings(kind, folder?.uri);
    const options = { ...settings, ...own, ...(exits && { exits: exits.directory }), ...given };
    const model = exits ? await modelOf(app, exits) : chosenModel(folder?.uri);
    const whole = { ...options, model, ...modelInFolder({ model }, folder?.uri.fsPath) };
    const placed =
      'device' in whole || kind === 'calibrate' || kind === 'evaluate' ? await withoutGpu(app, whole) : whole;
    return carryOut(app, kind, title, placed, folder?.uri.fsPath);
  };

  return {
    onChange: changed.event,
    async calibrate(given) {
      const exits = await chooseExits(given, vscode.l10n.t('Calibrate Exits'));
      if (!exits) return;
      const title = vscode.l10n.t('Calibrating {0}', exits.name);
      const outcomes = await run('calibrate', title, exits, folderOf(exits.directory), {});
      if (!outcomes) return;
      changed.fire({ directory: exits.directory, outcomes });
      const calibrated = outcomes.find((event) => event.type === 'calibrated');
      const text = calibrated ? calibrationText(calibrated) : saidOf(outcomes, ['warning']);
      offer(vscode.window.showInformationMessage, `${exits.name}: ${text}`, [
        { title: vscode.l10n.t('Use These Exits'), act: () => useExits(app, exits) },
      ]);
    },
    async evaluate(given) {
      const exits = await chooseExits(given, vscode.l10n.t('Evaluate Exits'));
      if (!exits) return;
      const title = vscode.l10n.t('Evaluating {0}', exits.name);
      const outcomes = await run('evaluate', title, exits, folderOf(exits.directory), {});
      const evaluated = outcomes?.find((event) => event.type === 'evaluated');
      if (evaluated) await showReport(exits.name, evaluationReport(exits.name, evaluated));
    },
    async exportExit(given) {
      const exits = await chooseExits(given, vscode.l10n.t('Export Exit'));
      const folder = exits ? folderOf(exits.directory) : undefined;
      if (!exits || folder === undefined) return;
      const items = exits.exits.map((label) => ({ label }));
      const picked = await showPick(items, { title: vscode.l10n.t('Choose the exit to export') });
      if (!picked) return;
      const exit = picked.label;
      const base = modelTitle(await modelOf(app, exits));
      const out = freePath(folder.uri.fsPath, `${base}-exit-${exit.replace(':', '-')}`);
      const outcomes = await run('export', vscode.l10n.t('Exporting {0}', exit), exits, folder, { exit, out });
      if (!outcomes) return;
      const text = vscode.l10n.t('Exported exit {0} as a model, in {1}.', exit, path.basename(out));
      offer(vscode.window.showInformationMessage, [text, saidOf(outcomes, ['warning'])].filter(Boolean).join(' '), [
        {
          title: vscode.l10n.t('Show in Explorer'),
          act: () => vscode.commands.executeCommand('revealInExplorer', vscode.Uri.file(out)),
        },
      ]);
    },
    async importExits() {
      if (!requireTrust()) return;
      const folder = currentFolder();
      if (folder === undefined)
        throw userError(
          'bad-argument',
          'There is no folder for the exits.',
          'Open a folder first: they are written into it.',
        );
      const source = await askSource();
      if (!source) return;
      const model = chosenModel(folder.uri);
      const out = freeExitsFolder(folder.uri.fsPath, modelTitle(model), app.runs.list());
      const title = vscode.l10n.t('Importing exits of {0}', modelBase(model));
      const outcomes = await run('import', title, null, folder, { ...source, out });
      if (!outcomes) return;
      changed.fire({ directory: out, outcomes });
      const text = vscode.l10n.t('Imported the exits into {0}.', path.basename(out));
      offer(
        vscode.window.showInformationMessage,
        [text, saidOf(outcomes, ['note', 'warning'])].filter(Boolean).join(' '),
        [],
      );
    },
  };
}

/** Runs a job with its progress and a way to stop it; null if it was stopped. */
export async function carryOut(
  app: Pick<App, 'backend'>,
  kind: JobKind,
  title: string,
  options: RecipeOptions,
  folder: string | undefined,
): Promise<JobOutcome[] | null> {
  const job = `job ${++jobs}`;
  return withJobProgress(app, job, title, async (token) => {
    const request = { job, kind, options, ...(folder !== undefined && { folder }) };
    return (await app.backend.send(protocol.runJob, request, token)).outcomes;
  });
}

/** Shows the progress of a job; null if the user stopped it. */
export async function withJobProgress<T>(
  { backend }: Pick<App, 'backend'>,
  job: string,
  title: string,
  work: (token: vscode.CancellationToken) => Promise<T>,
): Promise<T | null> {
  const shown = { location: vscode.ProgressLocation.Notification, title, cancellable: true };
  return vscode.window.withProgress(shown, async (progress, token) => {
    const following = backend.listen(protocol.jobProgressed, (now) => {
      if (now.job !== job) return;
      const share = now.share === null ? '' : ` ${Math.round(100 * now.share)} %`;
      progress.report({ message: `${now.message}${share}` });
    });
    try {
      return await work(token);
    } catch (error) {
      if (token.isCancellationRequested) return null;
      throw error;
    } finally {
      following.dispose();
    }
  });
}

/** The model for which exits were tuned, if it is found; else the chosen one, and the job reports the mismatch. */
async function modelOf(app: App, exits: ExitsSummary): Promise<string> {
  const chosen = chosenModel(folderOf(exits.directory)?.uri);
  return (await modelOfExits(app, exits, chosen)) ?? chosen;
}

/** The text of the run that tuned exits, whose held-out part they are measured on; the settings' if no run here did. */
async function dataOf(app: App, { directory }: ExitsSummary): Promise<RecipeOptions> {
  await app.runs.refresh();
  const data = app.runs.list().find((run) => run.directory === directory)?.data;
  return data ? { data } : {};
}

async function askSource(): Promise<RecipeOptions | null> {
  const layers = { label: `$(layers) ${vscode.l10n.t('Layers after which the model was trained to leave …')}` };
  // Windows and Linux have no dialog for both.
  const folder = { label: `$(folder-opened) ${vscode.l10n.t('An exit that was exported as a folder …')}` };
  const file = { label: `$(file) ${vscode.l10n.t('An exit that was exported as a GGUF file …')}` };
  const title = vscode.l10n.t('Import Exits');
  const picked = await showPick([layers, folder, file], { title });
  if (picked === folder || picked === file) {
    const from = await browse(picked === file ? 'file' : 'folder');
    return from === null ? null : { from };
  }
  if (picked !== layers) return null;
  const text = await vscode.window.showInputBox({
    title,
    prompt: importOptions.layers.help,
    value: '8',
    validateInput: (value) => {
      const read = importOptions.layers.read(value);
      return read.ok ? null : vscode.l10n.t('Must be {0}.', read.expected);
    },
  });
  return text === undefined ? null : { layers: text };
}

const saidOf = (outcomes: readonly JobOutcome[], types: readonly JobOutcome['type'][]): string =>
  outcomes.flatMap((event) => ('message' in event && types.includes(event.type) ? [event.message] : [])).join(' ');
