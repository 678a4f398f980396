/** The report of runs, sweeps and judged tasks beside the editor: the page of `early-exit report`, which runs no script. */
import path from 'node:path';
import * as vscode from 'vscode';
import { userError } from '../../protocol/errors.ts';
import type { ExitsSummary } from '../../protocol/server.ts';
import type { App } from '../app.ts';
import { carryOut } from '../runs/exits-jobs.ts';
import { listExits, listStudies } from '../models/model-and-exits.ts';
import { showPick } from '../models/pick.ts';
import { inTheme } from './report-theme.ts';
import { requireTrust } from '../settings/workspace-trust.ts';
import { panelIcon } from './view-panel.ts';

/** What the editor calls the view. */
const REPORT_VIEW = 'earlyExit.report';

/** Shows the report of a folder that `tune`, `sweep` or `evaluate --tasks` wrote; if none is given, the user picks one. */
export type ShowReport = (directory: string | null) => Promise<void>;

export function createReportPanel(app: App): ShowReport {
  let panel: vscode.WebviewPanel | null = null;
  let page = '';
  const draw = (): void => {
    const { kind } = vscode.window.activeColorTheme;
    const isDark = kind === vscode.ColorThemeKind.Dark || kind === vscode.ColorThemeKind.HighContrast;
    if (panel) panel.webview.html = inTheme(page, isDark);
  };
  const open = (): vscode.WebviewPanel => {
    const opened = vscode.window.createWebviewPanel(REPORT_VIEW, '', vscode.ViewColumn.Active, {
      enableScripts: false,
      localResourceRoots: [],
      enableFindWidget: true,
    });
    opened.iconPath = panelIcon(app.context.extensionUri);
    opened.onDidDispose(() => (panel = null));
    return opened;
  };
  app.context.subscriptions.push(vscode.window.onDidChangeActiveColorTheme(draw), {
    dispose: () => void panel?.dispose(),
  });
  return async (given) => {
    if (!requireTrust()) return;
    const directory = given ?? (await pickReported(app));
    if (directory === null) return;
    const storage = app.context.storageUri ?? app.context.globalStorageUri;
    await vscode.workspace.fs.createDirectory(storage);
    const file = vscode.Uri.joinPath(storage, 'report.html');
    const options = { runs: [directory], out: file.fsPath };
    const title = vscode.l10n.t('Report of {0}', path.basename(directory));
    if (!(await carryOut(app, 'report', title, options, undefined))) return;
    page = new TextDecoder().decode(await vscode.workspace.fs.readFile(file));
    panel ??= open();
    panel.title = title;
    draw();
    panel.reveal();
  };
}

/** Sweeps and judged tasks first. @throws UserError if there is nothing to report. */
async function pickReported(app: App): Promise<string | null> {
  const [studies, exits] = await Promise.all([listStudies(app), listExits(app)]);
  const isTrial = ({ directory }: ExitsSummary): boolean =>
    studies.some((study) => directory.startsWith(study.directory + path.sep));
  const items = [
    ...studies.map(({ name: label, detail: description, directory }) => ({ label, description, directory })),
    ...exits
      .filter((each) => !isTrial(each))
      .map((each) => ({ label: each.name, description: each.exits.join(' '), directory: each.directory })),
  ];
  if (items.length === 0)
    throw userError(
      'not-found',
      'There is nothing to report in this folder.',
      'Tune some exits, or begin a sweep: early-exit sweep FILE.json.',
    );
  return (await showPick(items, { title: vscode.l10n.t('Report of') }))?.directory ?? null;
}
