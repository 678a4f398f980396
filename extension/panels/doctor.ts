/** The doctor's findings in a view of its own, with buttons that install what is missing. The view has nothing to save. */
import * as vscode from 'vscode';
import * as protocol from '../../protocol/server.ts';
import type { Diagnosis } from '../../protocol/server.ts';
import { readViewMessage, type HostMessage, type ViewMessage } from '../../protocol/webview.ts';
import type { Backend } from '../backend/backend.ts';
import { commandId } from '../commands.ts';
import { withJobProgress } from '../runs/exits-jobs.ts';
import { showFailure } from '../messages.ts';
import { panelIcon, webviewOptions, webviewPage } from './webview-page.ts';

export interface Doctor {
  show(): Promise<void>;
}

const JOB = 'doctor';

export function createDoctor(context: vscode.ExtensionContext, backend: Backend): Doctor {
  let panel: vscode.WebviewPanel | null = null;
  let diagnosis: Diagnosis | null = null;
  const post = (message: HostMessage): void => void panel?.webview.postMessage(message);

  const look = async (install: string | null): Promise<void> => {
    const title =
      install === null
        ? vscode.l10n.t('Early Exit examines this machine …')
        : vscode.l10n.t('Early Exit installs {0}', install);
    const found = await withJobProgress({ backend }, JOB, title, (token) =>
      backend.send(protocol.doctor, { job: JOB, install }, token),
    );
    diagnosis = found ?? diagnosis;
    if (diagnosis) post({ type: 'doctor', diagnosis });
  };

  const receive = async (message: ViewMessage): Promise<unknown> => {
    switch (message.type) {
      case 'ready':
        return diagnosis && post({ type: 'doctor', diagnosis });
      case 'look':
        return look(null);
      case 'install':
        return look(message.part);
      case 'copy':
        return vscode.env.clipboard.writeText(diagnosis ? textOf(diagnosis) : '');
      case 'restart':
        await vscode.commands.executeCommand(commandId('restart'));
        return look(null);
      case 'logs':
        return vscode.commands.executeCommand(commandId('showLogs'));
      case 'failed':
        return backend.log.error(`Doctor: ${message.message}`);
      case 'tune':
      case 'pause':
      case 'resume':
      case 'stop':
      case 'calibrate':
      case 'export':
      case 'open':
      case 'reveal':
        return null;
    }
  };

  const open = (): vscode.WebviewPanel => {
    const title = vscode.l10n.t('Early Exit Doctor');
    const opened = vscode.window.createWebviewPanel(
      'earlyExit.doctor',
      title,
      vscode.ViewColumn.Active,
      webviewOptions(context.extensionUri),
    );
    opened.iconPath = panelIcon(context.extensionUri);
    opened.webview.onDidReceiveMessage((value: unknown) => {
      const message = readViewMessage(value);
      if (message) receive(message).catch((error: unknown) => showFailure({ backend }, error));
    });
    opened.onDidDispose(() => (panel = null));
    opened.webview.html = webviewPage(opened.webview, context.extensionUri, 'doctor', title);
    return opened;
  };

  return {
    async show() {
      await look(null);
      if (diagnosis === null) return; // cancelled
      panel ??= open();
      panel.reveal();
    },
  };
}

/** For an issue or a mail. */
const textOf = ({ findings, conclusion }: Diagnosis): string =>
  [...findings.map(({ name, state, detail }) => `${name}: ${state}, ${detail}`), conclusion, ''].join('\n');
