/**
 * The lists in the side bar: runs, exits, studies and models. Opening one starts the backend; a list keeps its rows while the backend is
 * away.
 */
import * as vscode from 'vscode';
import * as protocol from '../../protocol/server.ts';
import type { ExitsSummary, RunSummary, StudySummary } from '../../protocol/server.ts';
import type { App } from '../app.ts';
import { belongsTo, settingOf, withChosen, type ListedModel } from '../models/choices.ts';
import { commandId } from '../commands.ts';
import { exitsRow } from '../runs/exits-texts.ts';
import { currentFolder, trustedWorkspaceFolders } from '../settings/folders.ts';
import { chosenModel, exitsInUse, listExits, listStudies } from '../models/model-and-exits.ts';
import { kindText } from '../models/model-pick.ts';

export interface Views {
  refresh(): void;
}

const icons: Record<RunSummary['state'], vscode.ThemeIcon> = {
  running: new vscode.ThemeIcon('sync~spin'),
  paused: new vscode.ThemeIcon('debug-pause'),
  stopped: new vscode.ThemeIcon('debug-stop'),
  finished: new vscode.ThemeIcon('pass', new vscode.ThemeColor('testing.iconPassed')),
  failed: new vscode.ThemeIcon('error', new vscode.ThemeColor('testing.iconFailed')),
};

/** Scheme of rows that are dimmed; no document has it. */
const DIMMED = 'early-exit-dimmed';
const dimmedColour = new vscode.ThemeColor('disabledForeground');

export function createViews(app: App, subscriptions: vscode.Disposable[]): Views {
  let isRefreshed = false;
  const runs = list(app, runItem, async () => {
    if (!isRefreshed) await app.runs.refresh();
    isRefreshed = true;
    return app.runs.list();
  });
  const exits = list(app, exitsItem, async () => {
    const [all, used] = await Promise.all([listExits(app), exitsInUse(app)]);
    return all.map((each) => ({ ...each, used: each.directory === used }));
  });
  const studies = list(app, studyItem, () => listStudies(app));
  const models = list(app, modelItem, async () =>
    withChosen(await app.backend.send(protocol.listModels, { folders: trustedWorkspaceFolders() }), chosenModel()),
  );
  const refresh = (): void => [runs, exits, studies, models].forEach((each) => each.refresh());

  /** Whose model and exits are marked as those in use. */
  let current = currentFolder()?.name;
  /** States of the runs, so that what a run wrote is looked for when it ends and not at each of its steps. */
  let states = '';
  subscriptions.push(
    ...[runs, exits, studies, models].map((each) => each.emitter),
    app.runs.onChange(() => {
      runs.refresh();
      const now = app.runs.list().map(({ id, state }) => `${id} ${state}`);
      if (now.join() !== states) exits.refresh();
      states = now.join();
    }),
    vscode.workspace.onDidChangeConfiguration((event) => event.affectsConfiguration('earlyExit') && refresh()),
    vscode.workspace.onDidChangeWorkspaceFolders(refresh),
    vscode.window.onDidChangeActiveTextEditor(() => {
      const now = currentFolder()?.name;
      if (now !== current) refresh();
      current = now;
    }),
    vscode.workspace.onDidGrantWorkspaceTrust(refresh),
    vscode.window.registerTreeDataProvider('earlyExit.runs', runs.provider),
    vscode.window.registerTreeDataProvider('earlyExit.exits', exits.provider),
    vscode.window.registerTreeDataProvider('earlyExit.studies', studies.provider),
    vscode.window.registerTreeDataProvider('earlyExit.models', models.provider),
    vscode.window.registerFileDecorationProvider({
      provideFileDecoration: (uri) => (uri.scheme === DIMMED ? { color: dimmedColour } : undefined),
    }),
  );
  return { refresh };
}

interface List<T> {
  readonly provider: vscode.TreeDataProvider<T>;
  readonly emitter: vscode.EventEmitter<void>;
  refresh(): void;
}

/** A flat list; if it cannot be loaded, it keeps its rows. */
function list<T>(app: App, item: (each: T) => vscode.TreeItem, load: () => Promise<readonly T[]>): List<T> {
  const emitter = new vscode.EventEmitter<void>();
  let rows: readonly T[] = [];
  const provider: vscode.TreeDataProvider<T> = {
    onDidChangeTreeData: emitter.event,
    getTreeItem: item,
    async getChildren(parent) {
      if (parent !== undefined) return [];
      try {
        rows = await load();
      } catch (error) {
        app.backend.log.warn(String(error)); // errors of the backend are shown elsewhere
      }
      return [...rows];
    },
  };
  return { provider, emitter, refresh: () => emitter.fire() };
}

function runItem(run: RunSummary): vscode.TreeItem {
  const item = new vscode.TreeItem(run.title);
  item.id = run.id;
  item.description = run.message;
  item.tooltip = new vscode.MarkdownString('**')
    .appendText(run.title)
    .appendMarkdown('**\n\n')
    .appendText(run.message)
    .appendMarkdown('\n\n')
    .appendText(vscode.l10n.t('Exits in {0}', run.directory));
  item.iconPath = icons[run.state];
  item.contextValue = `run.${run.state}`;
  item.command = { title: vscode.l10n.t('Show Loss Curves'), command: commandId('showCurves'), arguments: [run] };
  return item;
}

/** Exits of another model are dimmed: choosing them changes the model, too. */
function exitsItem(exits: ExitsSummary & { used: boolean }): vscode.TreeItem {
  const isForeign = !belongsTo(exits, chosenModel());
  const item = new vscode.TreeItem(exits.name);
  item.id = exits.directory;
  item.description = exitsRow(exits);
  item.tooltip = isForeign
    ? `${exits.directory}\n${vscode.l10n.t('Tuned for {0}: using them chooses that model, too.', exits.model)}`
    : exits.directory;
  item.iconPath = new vscode.ThemeIcon(exits.used ? 'check' : 'git-branch', isForeign ? dimmedColour : undefined);
  item.contextValue = 'exits';
  if (isForeign) item.resourceUri = vscode.Uri.from({ scheme: DIMMED, path: exits.directory });
  item.command = { title: vscode.l10n.t('Use These Exits'), command: commandId('useExits'), arguments: [exits] };
  return item;
}

function studyItem(study: StudySummary): vscode.TreeItem {
  const item = new vscode.TreeItem(study.name);
  item.id = study.directory;
  item.description = study.detail;
  item.tooltip = study.directory;
  item.iconPath = new vscode.ThemeIcon(study.kind === 'sweep' ? 'beaker' : 'checklist');
  item.contextValue = 'study';
  item.command = { title: vscode.l10n.t('Show Report'), command: commandId('showReport'), arguments: [study] };
  return item;
}

function modelItem(model: ListedModel): vscode.TreeItem {
  const item = new vscode.TreeItem(model.name);
  item.id = model.path;
  item.description = kindText(model);
  item.tooltip = model.path;
  item.iconPath = new vscode.ThemeIcon(settingOf(model) === chosenModel() ? 'check' : 'symbol-misc');
  item.contextValue = 'model';
  item.command = { title: vscode.l10n.t('Use This Model'), command: commandId('useModel'), arguments: [model] };
  return item;
}
