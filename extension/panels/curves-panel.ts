/** The Loss Curves panel: hands runs and their points to the webview, carries out what its buttons ask. */
import * as vscode from 'vscode';
import type { JobOutcome } from '../../protocol/server.ts';
import { readViewMessage, type HostMessage, type ViewMessage } from '../../protocol/webview.ts';
import type { Backend } from '../backend/backend.ts';
import { commandId } from '../commands.ts';
import { sweepOf } from './curve-points.ts';
import { createCurvesFeed } from './curves-feed.ts';
import { showFailure } from '../messages.ts';
import type { Runs } from '../runs/runs.ts';
import { panelIcon, webviewOptions, webviewPage } from './webview-page.ts';

export interface CurvesPanel {
  /** Opens or reveals the panel; if a run is named, it is in front. */
  show(run?: string): Promise<void>;
  /** A run's exits were calibrated anew. */
  tell(run: string, outcomes: readonly JobOutcome[]): void;
  /** The panel is open and has the curves of a run. */
  readonly onFilled: vscode.Event<void>;
}

const CURVES_VIEW = 'earlyExit.curves';

export function createCurvesPanel(
  context: vscode.ExtensionContext,
  backend: Backend,
  runs: Runs,
  subscriptions: vscode.Disposable[],
): CurvesPanel {
  let panel: vscode.WebviewPanel | null = null;
  let isReady = false;
  let front: string | null = null;
  const filled = new vscode.EventEmitter<void>();
  /** Calibrations behind the end of their run, which has no event of them. */
  const told = new Map<string, HostMessage>();

  const post = (message: HostMessage): void => {
    if (isReady) void panel?.webview.postMessage(message);
  };
  const feed = createCurvesFeed(backend, runs, post, subscriptions);

  let isFilling = false;
  const fill = async (): Promise<void> => {
    isFilling = true;
    try {
      await feed.all();
      told.forEach(post);
      if (front !== null) post({ type: 'show', run: front });
      // From now on the view remembers what is in front.
      front = null;
      if (runs.list().length > 0) filled.fire();
    } finally {
      isFilling = false;
    }
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
    panel?.dispose();
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
      if (panel !== adopted) return;
      panel = null;
      isReady = false;
    });
    const title = vscode.l10n.t('Loss Curves');
    adopted.webview.html = webviewPage(adopted.webview, context.extensionUri, 'curves', title);
  };

  subscriptions.push(
    filled,
    runs.onChange(() => feed.soon()),
    // A backend that comes back has the events that the view lacks.
    backend.onReady(() => {
      if (isReady && panel?.visible && !isFilling) fill().catch((error: unknown) => backend.log.warn(String(error)));
    }),
    runs.onEvent((event) => {
      if (event.event.type === 'calibrated') told.delete(event.id);
      if (isReady) feed.take(event);
    }),
    vscode.window.registerWebviewPanelSerializer(CURVES_VIEW, {
      deserializeWebviewPanel: async (restored) => adopt(restored),
    }),
  );

  return {
    async show(run) {
      front = run ?? front;
      if (panel) {
        // One that is hidden is filled again when it is revealed, and shows it then.
        const isHidden = !isReady || !panel.visible;
        panel.reveal();
        if (isHidden || front === null) return;
        feed.runs();
        post({ type: 'show', run: front });
        front = null;
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
      if (message === null) return;
      told.set(run, message);
      post(message);
    },
    onFilled: filled.event,
  };
}

async function saveExport({ format, name, data }: Extract<ViewMessage, { type: 'export' }>): Promise<void> {
  const folder = vscode.workspace.workspaceFolders?.[0]?.uri;
  const file = `${name.replaceAll(/[^\w.-]+/g, '-')}.${format}`;
  const target = await vscode.window.showSaveDialog({
    filters: { [format.toUpperCase()]: [format] },
    ...(folder && { defaultUri: vscode.Uri.joinPath(folder, file) }),
  });
  if (target) await vscode.workspace.fs.writeFile(target, Buffer.from(data, format === 'png' ? 'base64' : 'utf8'));
}
