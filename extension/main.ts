/**
 * Activation, with the window: one context, the commands from their table, everything else on demand. The backend is started only if a run
 * was interrupted.
 */
import * as vscode from 'vscode';
import { userError } from '../protocol/errors.ts';
import { parseTrace } from '../protocol/trace-reading.ts';
import * as protocol from '../protocol/server.ts';
import type { ExitsSummary, RecipeOptions, RunSummary } from '../protocol/server.ts';
import type { EarlyExitApi } from './api.ts';
import type { App } from './app.ts';
import { createBackend, type Backend } from './backend/backend.ts';
import { settingOf, type ListedModel } from './models/choices.ts';
import { commandId, commandKeys, type CommandKey } from './commands.ts';
import { offerBetterModels } from './models/better-models.ts';
import { createCompletions, toggleCompletions, type Completions } from './completions/completions.ts';
import { forgetRequests } from './completions/request.ts';
import { offerChat } from './chat-provider.ts';
import { createCurvesPanel } from './panels/curves-panel.ts';
import { decorateGenerations } from './generation/decorations.ts';
import { createDetailsPanel } from './panels/details-panel.ts';
import { createDoctor, type Doctor } from './panels/doctor.ts';
import { createExitsJobs, type ExitsJobs } from './runs/exits-jobs.ts';
import { announceFinishedRuns } from './runs/finished-runs.ts';
import {
  continueGeneration,
  generateAtCursor,
  generatedAt,
  generateOptions,
  saveTrace,
  stopGeneration,
} from './generation/generating.ts';
import { createGenerations } from './generation/generations.ts';
import { followBackend, offer, showFailure } from './messages.ts';
import { chooseExits, listExits, useExits, useModel } from './models/model-and-exits.ts';
import { askModel } from './models/model-pick.ts';
import { hasInterruptedRun, runsFolder } from './runs/interrupted-runs.ts';
import { showPick } from './models/pick.ts';
import { createReportPanel, type ShowReport } from './panels/report-panel.ts';
import { createReportView } from './panels/report-view.ts';
import { createRuns } from './runs/runs.ts';
import {
  displayOrDefaults,
  followCompletionSettings,
  serverDisplay,
  settingProblems,
  type Display,
} from './settings/settings.ts';
import { createServing, type Serving } from './serving.ts';
import { createStatusItem, showStatusMenu } from './status/status-item.ts';
import { tokenIndexAt } from './generation/generated-text.ts';
import { tune } from './runs/tuning.ts';
import { createViews, type Views } from './panels/side-bar.ts';
import { followWalkthrough } from './walkthrough.ts';

let backend: Backend | null = null;

export function activate(context: vscode.ExtensionContext): EarlyExitApi {
  const { subscriptions } = context;
  const log = vscode.window.createOutputChannel('Early Exit', { log: true });
  subscriptions.push(log);
  backend = createBackend(context, log);
  const runs = createRuns(backend, subscriptions);
  const generations = createGenerations(backend, subscriptions);
  const app: App = {
    context,
    backend,
    runs,
    generations,
    curves: createCurvesPanel(context, backend, runs, subscriptions),
    details: createDetailsPanel(context, backend, generations),
  };
  subscriptions.push(followBackend(backend), announceFinishedRuns(app), offerBetterModels(app));
  const completionSettings = followCompletionSettings(subscriptions);
  const completions = createCompletions(app, completionSettings, subscriptions);
  subscriptions.push(followWalkthrough(app, completions));
  createStatusItem(app, completionSettings, completions, subscriptions);
  const views = createViews(app, subscriptions);
  const doctor = createDoctor(context, backend);
  const exitsJobs = createExitsJobs(app, createReportView(subscriptions));
  followCalibrations(app, exitsJobs, views, subscriptions);
  const display = followSettings(app, subscriptions);
  followTraces(app, subscriptions);
  offerChat(app, subscriptions);

  const serving = createServing(app, subscriptions);
  const actions = commandTable(app, views, doctor, serving, exitsJobs, createReportPanel(app), completions);
  for (const key of commandKeys) {
    subscriptions.push(
      vscode.commands.registerCommand(commandId(key), async (...args: unknown[]) => {
        try {
          return await actions[key](...args);
        } catch (error) {
          showFailure(app, error);
          return null;
        }
      }),
    );
  }
  subscriptions.push(decorateGenerations(generations, () => display().colours));
  const takeUp = (): void => void takeUpRuns(app).catch(() => {}); // the status item says what is wrong
  takeUp();
  subscriptions.push(vscode.workspace.onDidGrantWorkspaceTrust(takeUp));
  return api(app);
}

export async function deactivate(): Promise<void> {
  await backend?.dispose();
  backend = null;
}

/** A backend that starts takes up the runs that were interrupted; one that was started before the folder was trusted has not. */
async function takeUpRuns({ context, backend }: App): Promise<void> {
  if (!vscode.workspace.isTrusted || !(await hasInterruptedRun(runsFolder(context)))) return;
  await (backend.state() === 'running' ? backend.restart() : backend.start());
}

type Action = (...args: unknown[]) => unknown;

function commandTable(
  app: App,
  views: Views,
  doctor: Doctor,
  serving: Serving,
  exitsJobs: ExitsJobs,
  showReport: ShowReport,
  completions: Completions,
): Record<CommandKey, Action> {
  const { backend, runs } = app;
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
    tune: (options) => tune(app, isOptions(options) ? options : null),
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

/** What was calibrated is shown in the list, and beside the curves of the run that wrote it. */
function followCalibrations(app: App, jobs: ExitsJobs, views: Views, subscriptions: vscode.Disposable[]): void {
  subscriptions.push(
    jobs.onChange(({ directory, outcomes }) => {
      forgetRequests(app);
      views.refresh();
      const run = app.runs.list().find((each) => each.directory === directory);
      if (run) app.curves.tell(run.id, outcomes);
    }),
  );
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

/** Settings take effect at once if they can; otherwise a message says when. A wrong one is shown. Returns the display settings. */
function followSettings(app: App, subscriptions: vscode.Disposable[]): () => Display {
  let display: Display | null = null;
  const now = (): Display => (display ??= displayOrDefaults());
  const showProblem = (): boolean => {
    const [problem] = settingProblems();
    if (problem !== undefined) showFailure(app, new Error(problem));
    return problem !== undefined;
  };
  showProblem();
  subscriptions.push(
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (!event.affectsConfiguration('earlyExit')) return;
      // Any setting may be wrong while another changes, or is mended.
      display = null;
      app.backend.notify(protocol.displayChanged, serverDisplay(now()));
      if (showProblem()) return;
      if (event.affectsConfiguration('earlyExit.backend') && app.backend.state() !== 'stopped') {
        const restart = { title: vscode.l10n.t('Restart'), act: () => app.backend.restart() };
        const message = vscode.l10n.t('The new Node takes effect when the backend starts again.');
        offer(vscode.window.showInformationMessage, message, [restart]);
      }
      const tunes = event.affectsConfiguration('earlyExit.tuning') || event.affectsConfiguration('earlyExit.exits');
      if (tunes && app.runs.running()) {
        const message = vscode.l10n.t('Early Exit: the new settings apply from the next run.');
        vscode.window.setStatusBarMessage(message, 8_000);
      }
    }),
  );
  return now;
}

/** Keeps the context key for commands that need a trace, and starts the backend for a trace file. */
function followTraces(app: App, subscriptions: vscode.Disposable[]): void {
  const look = (): void => {
    const document = vscode.window.activeTextEditor?.document;
    const has =
      document !== undefined && (document.languageId === 'exittrace' || app.generations.in(document.uri).length > 0);
    void vscode.commands.executeCommand('setContext', 'earlyExit.hasTrace', has);
    if (document?.languageId !== 'exittrace' || app.backend.state() !== 'stopped') return;
    void app.backend.start().catch(() => {}); // the status item says what is wrong
  };
  subscriptions.push(vscode.window.onDidChangeActiveTextEditor(look), app.generations.onChange(look));
  look();
}

const isOptions = (value: unknown): value is RecipeOptions =>
  typeof value === 'object' && value !== null && !(value instanceof vscode.Uri) && !Array.isArray(value);

const isRun = (value: unknown): value is RunSummary =>
  isOptions(value) && typeof value.id === 'string' && 'state' in value;

function api(app: App): EarlyExitApi {
  const { backend, runs } = app;
  const runChanged = new vscode.EventEmitter<RunSummary>();
  app.context.subscriptions.push(
    runChanged,
    runs.onChange((run) => run && runChanged.fire(run)),
  );
  return {
    version: 1,
    startRun: (options = {}) => tune(app, options),
    pauseRun: (id) => runs.pause(id),
    resumeRun: (id) => runs.resume(id),
    stopRun: (id) => runs.stop(id),
    listRuns: async () => {
      await runs.refresh();
      return runs.list();
    },
    readRun: async (id) => {
      const { events } = await backend.send(protocol.readRun, { id, from: 0 });
      return events.map(({ event }) => event);
    },
    onRunEvent: runs.onEvent,
    onRunChange: runChanged.event,
    generate: async (prompt, options = {}, onToken = () => {}, token) =>
      app.generations.generate(prompt, await generateOptions(app, undefined, options), onToken, token),
    generateAtCursor: (options = {}) => generateAtCursor(app, options),
    status: () => backend.send(protocol.readStatus, {}),
  };
}
