/** The Loss Curves panel: hands runs and their points to the webview, carries out what its buttons ask. */
import * as vscode from 'vscode';
import * as protocol from '../protocol/server.ts';
import type { JobOutcome, RunEvent, RunSummary } from '../protocol/server.ts';
import { doneShare, secondsLeft, spentSeconds } from '../protocol/run-clock.ts';
import { readViewMessage, type CurveRun, type HostMessage, type ViewMessage } from '../protocol/webview.ts';
import type { Backend } from './backend.ts';
import { commandId } from './commands.ts';
import { planOf, pointsOf, sweepOf } from './curve-points.ts';
import { showFailure } from './messages.ts';
import type { Runs } from './runs.ts';
import { panelIcon, translations, webviewOptions, webviewPage } from './webview-page.ts';

export interface CurvesPanel {
  /** Opens or reveals the panel; if a run is named, it is in front. */
  show(run?: string): Promise<void>;
  /** A run's exits were calibrated anew. */
  tell(run: string, outcomes: readonly JobOutcome[]): void;
  /** The panel is open and has the curves of a run. */
  readonly onFilled: vscode.Event<void>;
  dispose(): void;
}

export const CURVES_VIEW = 'earlyExit.curves';
/** Steps come by the dozen a second; the panel gets them together. */
const BATCH_MILLISECONDS = 100;

export function createCurvesPanel(
  context: vscode.ExtensionContext,
  backend: Backend,
  runs: Runs,
  subscriptions: vscode.Disposable[],
): CurvesPanel {
  let panel: vscode.WebviewPanel | null = null;
  let isReady = false;
  let front: string | null = null;
  const waiting = new Map<string, RunEvent[]>();
  /** Events of each run that the webview has: later ones only are passed on. */
  const sent = new Map<string, number>();
  let timer: NodeJS.Timeout | null = null;
  const filled = new vscode.EventEmitter<void>();

  const post = (message: HostMessage): void => {
    if (isReady) void panel?.webview.postMessage(message);
  };
  const postRuns = (): void => post({ type: 'runs', runs: runs.list().map(curveRun) });

  const postPoints = (run: string, events: readonly RunEvent[]): void => {
    const from = sent.get(run) ?? 0;
    const fresh = events.filter((event) => event.index >= from);
    if (fresh.length === 0) return;
    sent.set(run, fresh.at(-1)!.index + 1);
    const freshEvents = fresh.map(({ event }) => event);
    for (const message of [planOf(run, freshEvents), pointsOf(run, freshEvents), sweepOf(run, freshEvents)])
      if (message) post(message);
  };

  const flush = (): void => {
    timer = null;
    for (const [run, events] of waiting) {
      // A run whose past the webview lacks is read as a whole.
      if ((sent.get(run) ?? 0) < (events[0]?.index ?? 0)) void readAll(run);
      else postPoints(run, events);
    }
    waiting.clear();
    postRuns();
  };
  const soon = (): void => {
    timer ??= setTimeout(flush, BATCH_MILLISECONDS);
  };

  const readAll = async (run: string): Promise<void> => {
    const { events } = await backend.send(protocol.readRun, { id: run, from: sent.get(run) ?? 0 });
    postPoints(run, events);
  };

  const fill = async (): Promise<void> => {
    sent.clear();
    post({ type: 'texts', texts: translations() });
    await runs.refresh();
    postRuns();
    for (const run of runs.list()) await readAll(run.id);
    if (front !== null) post({ type: 'show', run: front });
    if (runs.list().length > 0) filled.fire();
  };

  const receive = async (message: ViewMessage): Promise<void> => {
    switch (message.type) {
      case 'ready':
        isReady = true;
        return fill();
      case 'tune':
        return vscode.commands.executeCommand(commandId('tune'));
      case 'pause':
      case 'resume':
      case 'stop':
        await runs[message.type](message.run);
        return;
      case 'calibrate':
        return vscode.commands.executeCommand(commandId('calibrate'), runs.find(message.run));
      case 'export':
        return saveExport(message);
      case 'failed':
        backend.log.error(`Loss Curves: ${message.message}`);
        return;
      case 'reveal':
      case 'open':
      case 'look':
      case 'install':
      case 'logs':
      case 'restart':
      case 'copy':
        return;
    }
  };

  const adopt = (adopted: vscode.WebviewPanel): void => {
    panel = adopted;
    isReady = false;
    adopted.webview.options = webviewOptions(context.extensionUri);
    adopted.iconPath = panelIcon(context.extensionUri);
    adopted.webview.onDidReceiveMessage((value: unknown) => {
      const message = readViewMessage(value);
      if (message) void receive(message).catch((error: unknown) => showFailure({ backend }, error));
      else backend.log.warn(`Loss Curves sent something unknown: ${JSON.stringify(value)}`);
    });
    adopted.onDidDispose(() => {
      panel = null;
      isReady = false;
    });
    const title = vscode.l10n.t('Loss Curves');
    adopted.webview.html = webviewPage(adopted.webview, context.extensionUri, 'curves', title);
  };

  subscriptions.push(
    filled,
    runs.onChange(soon),
    runs.onEvent((event) => {
      if (!isReady) return;
      const events = waiting.get(event.id);
      if (events) events.push(event);
      else waiting.set(event.id, [event]);
      soon();
    }),
    vscode.window.registerWebviewPanelSerializer(CURVES_VIEW, {
      deserializeWebviewPanel: async (restored) => adopt(restored),
    }),
    new vscode.Disposable(() => timer && clearTimeout(timer)),
  );

  return {
    async show(run) {
      front = run ?? front;
      if (panel) {
        panel.reveal();
        if (run !== undefined) {
          postRuns();
          post({ type: 'show', run });
        }
        return;
      }
      adopt(
        vscode.window.createWebviewPanel(CURVES_VIEW, vscode.l10n.t('Loss Curves'), vscode.ViewColumn.Beside, {
          ...webviewOptions(context.extensionUri),
        }),
      );
    },
    tell(run, outcomes) {
      const message = sweepOf(run, outcomes);
      if (message) post(message);
    },
    onFilled: filled.event,
    dispose: () => {
      panel?.dispose();
    },
  };
}

const curveRun = (run: RunSummary): CurveRun => ({
  id: run.id,
  title: run.title,
  state: run.state,
  startedAt: run.startedAt,
  step: run.step,
  steps: run.steps,
  tokensPerSecond: run.tokensPerSecond,
  spent: run.clock ? spentSeconds(run.clock, Date.now()) : null,
  left: secondsLeft(run, Date.now()),
  share: doneShare(run, Date.now()),
  byMinutes: run.clock !== undefined && run.clock.minutes !== null,
  message: run.message,
});

async function saveExport({ format, name, data }: Extract<ViewMessage, { type: 'export' }>): Promise<void> {
  const folder = vscode.workspace.workspaceFolders?.[0]?.uri;
  const file = `${name.replaceAll(/[^\w.-]+/g, '-')}.${format}`;
  const target = await vscode.window.showSaveDialog({
    filters: { [format.toUpperCase()]: [format] },
    ...(folder && { defaultUri: vscode.Uri.joinPath(folder, file) }),
  });
  if (target) await vscode.workspace.fs.writeFile(target, Buffer.from(data, format === 'png' ? 'base64' : 'utf8'));
}
