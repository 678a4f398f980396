/** What each command does, by its key in `commands.ts`. */
import * as vscode from 'vscode';
import { userError } from '../protocol/errors.ts';
import { parseTrace } from '../protocol/trace-reading.ts';
import type { ExitsSummary, RecipeOptions, RunSummary } from '../protocol/server.ts';
import type { App } from './app.ts';
import type { CommandKey } from './commands.ts';
import { toggleCompletions, type Completions } from './completions/completions.ts';
import { forgetRequests } from './completions/request.ts';
import { tokenIndexAt } from './generation/generated-text.ts';
import {
  continueGeneration,
  generateAtCursor,
  generatedAt,
  saveTrace,
  stopGeneration,
} from './generation/generating.ts';
import { settingOf, type ListedModel } from './models/choices.ts';
import { chooseExits, listExits, useExits, useModel } from './models/model-and-exits.ts';
import { askModel } from './models/model-pick.ts';
import { showPick } from './models/pick.ts';
import type { Doctor } from './panels/doctor.ts';
import type { ShowReport } from './panels/report-panel.ts';
import type { Views } from './panels/side-bar.ts';
import type { ExitsJobs } from './runs/exits-jobs.ts';
import { tune } from './runs/tuning.ts';
import type { Serving } from './serving.ts';
import { showStatusMenu } from './status/status-item.ts';

type Action = (...args: unknown[]) => unknown;

/** What commands need besides the app. */
interface Parts {
  readonly views: Views;
  readonly doctor: Doctor;
  readonly serving: Serving;
  readonly exitsJobs: ExitsJobs;
  readonly showReport: ShowReport;
  readonly completions: Completions;
}

export function commandActions(app: App, parts: Parts): Record<CommandKey, Action> {
  const { backend, runs } = app;
  const { views, doctor, serving, exitsJobs, showReport, completions } = parts;
  const act = (
    what: 'pause' | 'resume' | 'stop',
    wanted: readonly RunSummary['state'][],
    title: string,
    none: string,
  ): Action => {
    return async (run) => {
      const chosen = isRun(run) ? run : await chooseRun(app, wanted, title, none);
      return chosen && runs[what](chosen.id);
    };
  };
  return {
    // The title of the view of runs passes the row that has the focus.
    tune: (options) => tune(app, isOptions(options) && !isRun(options) ? options : null),
    generate: (options) => generateAtCursor(app, isOptions(options) ? options : {}),
    stopGeneration,
    continueGeneration: (id) => (typeof id === 'string' ? continueGeneration(app, id) : null),
    showCurves: (run) => app.curves.show(isRun(run) ? run.id : undefined),
    showDetails: (generation, token) => showDetails(app, generation, token),
    saveTrace: () => saveTrace(app),
    clearTraces: () => {
      const uri = vscode.window.activeTextEditor?.document.uri;
      if (uri) app.generations.clear(uri);
    },
    pauseRun: act('pause', ['running'], vscode.l10n.t('Pause Run'), vscode.l10n.t('No run is under way.')),
    resumeRun: act(
      'resume',
      ['paused', 'stopped', 'failed'],
      vscode.l10n.t('Resume Run'),
      vscode.l10n.t('There is no run to resume: none is paused, stopped or failed.'),
    ),
    stopRun: act(
      'stop',
      ['running', 'paused'],
      vscode.l10n.t('Stop Run'),
      vscode.l10n.t('There is no run to stop: none is under way or paused.'),
    ),
    chooseModel: async () => {
      const model = await askModel(app);
      if (model !== null) await useModel(app, model);
    },
    startServer: () => serving.start(),
    stopServer: () => serving.stop(),
    chooseExits: () => chooseExits(app),
    calibrate: async (given) => exitsJobs.calibrate(await exitsOf(app, given)),
    evaluate: async (given) => exitsJobs.evaluate(await exitsOf(app, given)),
    exportExit: async (given) => exitsJobs.exportExit(await exitsOf(app, given)),
    importExits: () => exitsJobs.importExits(),
    hideSuggestion: () => completions.hide(),
    showReport: (given) => showReport(isOptions(given) && typeof given.directory === 'string' ? given.directory : null),
    useModel: (model) => useModel(app, settingOf(model as ListedModel)),
    useExits: (exits) => useExits(app, exits as ExitsSummary),
    refresh: async () => {
      forgetRequests(app);
      await runs.refresh();
      views.refresh();
    },
    restart: () => backend.restart(),
    showLogs: () => backend.log.show(),
    doctor: () => doctor.show(),
    status: () => showStatusMenu(app, serving.isServing()),
    toggleCompletions,
  };
}

/** From a lens with its generation and token, or for what is at the cursor; without an editor, as in the walkthrough, the latest. */
async function showDetails(app: App, id: unknown, token: unknown): Promise<void> {
  const editor = vscode.window.activeTextEditor;
  const index = typeof token === 'number' ? token : null;
  const file = vscode.workspace.textDocuments.find((document) => document.uri.toString() === id) ?? editor?.document;
  const isFile = file?.languageId === 'exittrace';
  const generated =
    (typeof id === 'string' ? app.generations.find(id) : undefined) ??
    (editor && generatedAt(app, editor)) ??
    (isFile ? undefined : app.generations.latest());
  if (generated) {
    const isHere = editor?.document.uri.toString() === generated.uri;
    const at = isHere ? tokenIndexAt(generated, editor.document.offsetAt(editor.selection.active)) : 0;
    const title = vscode.workspace.asRelativePath(vscode.Uri.parse(generated.uri));
    return app.details.show(generated.trace, title, index ?? Math.max(0, at), { generation: generated.id });
  }
  if (!isFile) {
    void vscode.window.showInformationMessage(vscode.l10n.t('Generate some text first: there is no trace yet.'));
    return;
  }
  const { trace, tokenLines } = parseTrace(file.getText(), vscode.workspace.asRelativePath(file.uri));
  const at = index ?? tokenLines.findLastIndex((line) => line <= (editor?.selection.active.line ?? 0));
  app.details.show(trace, vscode.workspace.asRelativePath(file.uri), Math.max(0, at), { file: file.uri });
}

/** The exits of a row, or those that a run wrote; null: the user is asked. */
async function exitsOf(app: App, given: unknown): Promise<ExitsSummary | null> {
  if (isRun(given)) {
    const found = (await listExits(app)).find(({ directory }) => directory === given.directory);
    if (found) return found;
    throw userError(
      'not-found',
      `There are no exits in ${given.directory}.`,
      'Choose others with Choose Exits, or tune again.',
    );
  }
  return isOptions(given) && typeof given.directory === 'string' ? (given as unknown as ExitsSummary) : null;
}

/** Null if the user dismissed the pick, and if no run is in one of these states, which `none` says. */
async function chooseRun(
  app: App,
  states: readonly RunSummary['state'][],
  title: string,
  none: string,
): Promise<RunSummary | null> {
  await app.runs.refresh();
  const fitting = app.runs.list().filter((run) => states.includes(run.state));
  if (fitting.length === 0) void vscode.window.showInformationMessage(none);
  if (fitting.length < 2) return fitting[0] ?? null;
  const items = fitting.map((run) => ({ label: run.title, description: run.message, run }));
  return (await showPick(items, { title }))?.run ?? null;
}

const isOptions = (value: unknown): value is RecipeOptions =>
  typeof value === 'object' && value !== null && !(value instanceof vscode.Uri) && !Array.isArray(value);

const isRun = (value: unknown): value is RunSummary =>
  isOptions(value) && typeof value.id === 'string' && 'state' in value;
