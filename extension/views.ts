/** The lists in the side bar: runs, exits and models. Opening one asks the backend, which starts for it. */
import path from 'node:path';
import * as vscode from 'vscode';
import { shippedModel } from '../protocol/options-groups.ts';
import * as protocol from '../protocol/server.ts';
import type { ExitsSummary, ModelSummary, RunSummary } from '../protocol/server.ts';
import type { App } from './app.ts';
import { commandId } from './commands.ts';
import { workspaceFolders } from './generating.ts';

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

export function createViews(app: App, subscriptions: vscode.Disposable[]): Views {
  const changed = new vscode.EventEmitter<void>();
  const list = <T>(
    load: () => Promise<readonly T[]>,
    item: (each: T) => vscode.TreeItem,
  ): vscode.TreeDataProvider<T> => ({
    onDidChangeTreeData: changed.event,
    getTreeItem: item,
    getChildren: async (parent) => (parent === undefined ? [...(await load())] : []),
  });
  const folders = (): string[] => (vscode.workspace.isTrusted ? workspaceFolders() : []);
  let asked = false;

  subscriptions.push(
    changed,
    app.runs.onChange(() => changed.fire()),
    vscode.workspace.onDidChangeConfiguration((event) => event.affectsConfiguration('earlyExit') && changed.fire()),
    vscode.window.registerTreeDataProvider(
      'earlyExit.runs',
      list(async () => {
        if (!asked) {
          asked = true;
          await app.runs.refresh();
        }
        return app.runs.list();
      }, runItem),
    ),
    vscode.window.registerTreeDataProvider(
      'earlyExit.exits',
      list(() => app.backend.send(protocol.listExits, { folders: folders() }), exitsItem),
    ),
    vscode.window.registerTreeDataProvider(
      'earlyExit.models',
      list(() => app.backend.send(protocol.listModels, { folders: folders() }), modelItem),
    ),
  );
  return { refresh: () => changed.fire() };
}

function runItem(run: RunSummary): vscode.TreeItem {
  const item = new vscode.TreeItem(run.title);
  item.id = run.id;
  item.description = run.message;
  item.tooltip = new vscode.MarkdownString(
    `**${run.title}**\n\n${run.message}\n\n${vscode.l10n.t('Exits in {0}', `\`${run.directory}\``)}`,
  );
  item.iconPath = icons[run.state];
  item.contextValue = `run.${run.state}`;
  item.command = { title: vscode.l10n.t('Show Loss Curves'), command: commandId('showCurves'), arguments: [run] };
  return item;
}

function exitsItem(exits: ExitsSummary): vscode.TreeItem {
  const used = vscode.workspace.getConfiguration('earlyExit').get('decoding.exits') === exits.directory;
  const item = new vscode.TreeItem(exits.name);
  item.id = exits.directory;
  item.description = [exits.exits.join(' '), exits.model].filter((text) => text !== '').join(' · ');
  item.tooltip = exits.directory;
  item.iconPath = new vscode.ThemeIcon(used ? 'check' : 'git-branch');
  item.contextValue = 'exits';
  item.resourceUri = vscode.Uri.file(path.join(exits.directory, 'exits.json'));
  return item;
}

function modelItem(model: ModelSummary): vscode.TreeItem {
  const setting: unknown = vscode.workspace.getConfiguration('earlyExit').get('model');
  const used = setting === model.path || (setting === shippedModel && model.kind === 'shipped');
  const item = new vscode.TreeItem(model.name);
  item.id = model.path;
  item.description = model.kind === 'shipped' ? vscode.l10n.t('ships with the extension') : model.kind;
  item.tooltip = model.path;
  item.iconPath = new vscode.ThemeIcon(used ? 'check' : 'symbol-misc');
  item.contextValue = 'model';
  return item;
}
