/** One status item: backend, model, device and what it does; a click offers restart, logs and doctor. */
import * as vscode from 'vscode';
import { modelBase } from '../../protocol/models.ts';
import { decodingOptions } from '../../protocol/options/decoding.ts';
import * as protocol from '../../protocol/server.ts';
import { doneShare } from '../../protocol/run-clock.ts';
import type { Status } from '../../protocol/server.ts';
import type { App } from '../app.ts';
import type { Completions } from '../completions/completions.ts';
import { commandId, commands, type CommandKey } from '../commands.ts';
import { currentScope } from '../settings/folders.ts';
import { chosenModel } from '../models/model-and-exits.ts';
import { showPick } from '../models/pick.ts';
import { explicit, type CompletionSettings } from '../settings/settings.ts';
import { statusText, type StatusTexts } from './status-text.ts';

export function createStatusItem(
  app: App,
  completionSettings: () => CompletionSettings,
  completions: Completions,
  subscriptions: vscode.Disposable[],
): void {
  const item = vscode.window.createStatusBarItem('earlyExit.status', vscode.StatusBarAlignment.Right, 50);
  item.name = vscode.l10n.t('Early Exit');
  item.command = commandId('status');
  let status = idle;

  const draw = (): void => {
    const state = app.backend.state();
    const run = app.runs.running();
    const set = explicit('earlyExit.decoding.mode', currentScope()) ?? decodingOptions.mode.default;
    const mode = typeof set === 'string' ? set : '';
    const done = run ? doneShare(run, Date.now()) : null;
    item.text = statusText({ state, status, model: chosenModel(), mode, done }, texts());
    item.backgroundColor = state === 'failed' ? new vscode.ThemeColor('statusBarItem.errorBackground') : undefined;
    item.tooltip = tooltip(app, status, completionSettings().enabled, completions.note());
  };

  draw();
  item.show();
  subscriptions.push(
    item,
    app.backend.listen(protocol.statusChanged, (now) => {
      status = now;
      draw();
    }),
    app.backend.onState((state) => {
      if (state !== 'running') status = { ...status, activity: 'idle', detail: '' };
      draw();
    }),
    app.runs.onChange(draw),
    completions.onChange(draw),
    vscode.window.onDidChangeActiveTextEditor(draw),
    vscode.workspace.onDidChangeConfiguration((event) => event.affectsConfiguration('earlyExit') && draw()),
  );
}

const idle: Status = {
  activity: 'idle',
  model: null,
  device: null,
  last: null,
  mode: null,
  tokensPerSecond: null,
  detail: '',
};

const texts = (): StatusTexts => ({
  name: vscode.l10n.t('Early Exit'),
  activity: (activity) =>
    ({
      loading: vscode.l10n.t('Loading'),
      tuning: vscode.l10n.t('Tuning'),
      generating: vscode.l10n.t('Generating'),
      evaluating: vscode.l10n.t('Evaluating'),
    })[activity],
  speed: (tokensPerSecond, of) =>
    of === 'completion'
      ? vscode.l10n.t('completed at {0} tokens/s', tokensPerSecond)
      : vscode.l10n.t('generated at {0} tokens/s', tokensPerSecond),
});

function tooltip(app: App, status: Status, isCompleting: boolean, note: string): vscode.MarkdownString {
  const rows = [
    [vscode.l10n.t('Backend'), backendText(app)],
    [vscode.l10n.t('Runtime'), app.backend.runtime()?.description],
    [vscode.l10n.t('Model'), status.model],
    [vscode.l10n.t('Device'), status.device],
    [vscode.l10n.t('Mode'), status.mode],
    [
      status.last === 'completion' ? vscode.l10n.t('Last completion') : vscode.l10n.t('Last generation'),
      status.tokensPerSecond && vscode.l10n.t('{0} tokens/s', status.tokensPerSecond.toFixed(1)),
    ],
    [vscode.l10n.t('Doing'), status.detail],
    [
      vscode.l10n.t('Completions'),
      isCompleting ? [vscode.l10n.t('on'), note].filter(Boolean).join(': ') : vscode.l10n.t('off'),
    ],
  ].filter((row): row is [string, string] => typeof row[1] === 'string' && row[1] !== '');
  const text = new vscode.MarkdownString('**Early Exit**\n\n');
  for (const [name, value] of rows) text.appendMarkdown(`${name}: `).appendText(value).appendMarkdown('  \n');
  return text;
}

/** A state, then the actions for it. `isServing` decides between starting and stopping the server. */
export async function showStatusMenu(app: App, isServing: boolean): Promise<void> {
  const keys: CommandKey[] = [
    'generate',
    'tune',
    isServing ? 'stopServer' : 'startServer',
    'toggleCompletions',
    'chooseModel',
    'chooseExits',
    'showCurves',
    'doctor',
    'restart',
    'showLogs',
  ];
  const items: (vscode.QuickPickItem & { key?: CommandKey })[] = keys.map((key) => {
    const { icon, title } = commands[key] as { icon: string; title: string };
    return { label: `${icon} ${vscode.l10n.t(title)}`, key };
  });
  const state = { label: stateText(app), kind: vscode.QuickPickItemKind.Separator };
  const title = [vscode.l10n.t('Early Exit'), app.backend.runtime()?.description].filter(Boolean).join(' · ');
  const picked = await showPick<(typeof items)[number]>([state, ...items], { title });
  if (picked?.key) await vscode.commands.executeCommand(commandId(picked.key));
}

/** The backend, the chosen model and what it does. */
function stateText(app: App): string {
  const run = app.runs.running();
  const doing = run ? vscode.l10n.t('tunes {0}', run.title) : null;
  return [backendText(app), modelBase(chosenModel()), doing].filter(Boolean).join(' · ');
}

function backendText({ backend }: App): string {
  return {
    stopped: vscode.l10n.t('not started: it starts when it is needed'),
    starting: vscode.l10n.t('starting'),
    running: vscode.l10n.t('running'),
    failed: backend.failure(),
  }[backend.state()];
}
