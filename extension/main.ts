/**
 * Activation, with the window: one context, the commands from their table, everything else on demand. The backend is started only if a run
 * was interrupted.
 */
import * as vscode from 'vscode';
import * as protocol from '../protocol/server.ts';
import type { RunSummary } from '../protocol/server.ts';
import { commandActions } from './actions.ts';
import type { EarlyExitApi } from './api.ts';
import type { App } from './app.ts';
import { createBackend, type Backend } from './backend/backend.ts';
import { offerChat } from './chat-provider.ts';
import { commandId, commandKeys } from './commands.ts';
import { createCompletions } from './completions/completions.ts';
import { forgetRequests } from './completions/request.ts';
import { decorateGenerations } from './generation/decorations.ts';
import { generateAtCursor, generateOptions } from './generation/generating.ts';
import { createGenerations } from './generation/generations.ts';
import { followBackend, offer, showFailure } from './messages.ts';
import { offerBetterModels } from './models/better-models.ts';
import { createCurvesPanel } from './panels/curves-panel.ts';
import { createDetailsPanel } from './panels/details-panel.ts';
import { createDoctor } from './panels/doctor.ts';
import { createReportPanel } from './panels/report-panel.ts';
import { createReportView } from './panels/report-view.ts';
import { createViews, type Views } from './panels/side-bar.ts';
import { createExitsJobs, type ExitsJobs } from './runs/exits-jobs.ts';
import { announceFinishedRuns } from './runs/finished-runs.ts';
import { hasInterruptedRun, runsFolder } from './runs/interrupted-runs.ts';
import { createRuns } from './runs/runs.ts';
import { tune } from './runs/tuning.ts';
import { createServing } from './serving.ts';
import {
  displayOrDefaults,
  followCompletionSettings,
  serverDisplay,
  settingProblems,
  type Display,
} from './settings/settings.ts';
import { createStatusItem } from './status/status-item.ts';
import { followWalkthrough } from './walkthrough.ts';

let backend: Backend | null = null;

/** Context keys of what is under way: they outlive a host of extensions that crashed. */
const underWay = ['generating', 'serving', 'suggestionGrows'];

export function activate(context: vscode.ExtensionContext): EarlyExitApi {
  const { subscriptions } = context;
  for (const key of underWay) void vscode.commands.executeCommand('setContext', `earlyExit.${key}`, false);
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
  const exitsJobs = createExitsJobs(app, createReportView(subscriptions));
  followCalibrations(app, exitsJobs, views, subscriptions);
  const display = followSettings(app, subscriptions);
  followTraces(app, subscriptions);
  offerChat(app, subscriptions);

  const actions = commandActions(app, {
    views,
    doctor: createDoctor(context, backend),
    serving: createServing(app, subscriptions),
    exitsJobs,
    showReport: createReportPanel(app),
    completions,
  });
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
