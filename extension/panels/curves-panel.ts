/** The Loss Curves panel: hands runs and their points to the webview, carries out what its buttons ask. */
import * as vscode from 'vscode';
import type { JobOutcome } from '../../protocol/server.ts';
import type { HostMessage, ViewMessage } from '../../protocol/webview.ts';
import type { Backend } from '../backend/backend.ts';
import { commandId } from '../commands.ts';
import { sweepOf } from './curve-points.ts';
import { createCurvesFeed } from './curves-feed.ts';
import type { Runs } from '../runs/runs.ts';
import { createViewPanel } from './view-panel.ts';

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
  let front: string | null = null;
  const filled = new vscode.EventEmitter<void>();
  /** Calibrations behind the end of their run, which has no event of them. */
  const told = new Map<string, HostMessage>();

  const post = (message: HostMessage): void => view.post(message);
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

  const spec = { name: 'curves', title: vscode.l10n.t('Loss Curves'), column: vscode.ViewColumn.Beside } as const;
  const view = createViewPanel(context, backend, spec, {
    ready: fill,
    tune: () => vscode.commands.executeCommand(commandId('tune')),
    pause: ({ run }) => runs.pause(run),
    resume: ({ run }) => runs.resume(run),
    stop: ({ run }) => runs.stop(run),
    calibrate: ({ run }) => vscode.commands.executeCommand(commandId('calibrate'), runs.find(run)),
    export: saveExport,
  });

  subscriptions.push(
    filled,
    runs.onChange(() => feed.soon()),
    // A backend that comes back has the events that the view lacks.
    backend.onReady(() => {
      if (view.isReady && !isFilling) fill().catch((error: unknown) => backend.log.warn(String(error)));
    }),
    runs.onEvent((event) => {
      if (event.event.type === 'calibrated') told.delete(event.id);
      if (view.isReady) feed.take(event);
    }),
    vscode.window.registerWebviewPanelSerializer(CURVES_VIEW, {
      deserializeWebviewPanel: async (restored) => view.adopt(restored),
    }),
  );

  return {
    async show(run) {
      front = run ?? front;
      // A page that is hidden is filled again when it is revealed, and shows the run then.
      if (view.isReady && front !== null) {
        feed.runs();
        post({ type: 'show', run: front });
        front = null;
      }
      view.show();
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
