/** Messages with actions. No code waits for one: a message stays until it is closed. */
import * as vscode from 'vscode';
import { describeError } from '../protocol/errors.ts';
import { shown } from '../protocol/shown.ts';
import { BackendEnded, type Backend } from './backend/backend.ts';
import { commandId } from './commands.ts';

interface Action {
  readonly title: string;
  readonly act: () => unknown;
}

type Show = (message: string, ...titles: string[]) => Thenable<string | undefined>;

/** Shows a message and carries out what is picked, whenever that is. */
export function offer(show: Show, message: string, actions: readonly Action[]): void {
  const titles = actions.map(({ title }) => title);
  const carryOut = async (): Promise<void> => {
    const picked = await show(harmless(message), ...titles);
    await actions.find(({ title }) => title === picked)?.act();
  };
  void carryOut().catch((error: unknown) => vscode.window.showErrorMessage(harmless(describeError(error))));
}

/** An editor makes links of `[text](command:…)` in a message: text of others makes none. */
const harmless = (message: string): string => shown(message).replaceAll('](', '] (');

/** Shows an error, unless it is that the user stopped something. `followBackend` reports once, for all that waited, that the backend ended or could not start. */
export function showFailure({ backend }: { readonly backend: Backend }, error: unknown): void {
  if (error instanceof vscode.CancellationError) return;
  const message = describeError(error);
  backend.log.error(error instanceof Error && error.stack !== undefined ? error.stack : message);
  const isShown = backend.state() === 'failed' && message === backend.failure();
  if (!(error instanceof BackendEnded) && !isShown)
    offer(vscode.window.showErrorMessage, message, waysOut(message, error));
}

function waysOut(message: string, error: unknown): Action[] {
  const settings = openSettings(message);
  if (settings.length > 0) return settings;
  if (codeOf(error) === 'wrong-base-model') {
    return [run(vscode.l10n.t('Choose Model …'), 'chooseModel'), run(vscode.l10n.t('Choose Exits …'), 'chooseExits')];
  }
  return [showLogs()];
}

/** Reports that the backend ended, with *Restart*: it restarts at once, even if it would be restarted automatically. */
export function followBackend(backend: Backend): vscode.Disposable {
  return vscode.Disposable.from(
    backend.onCrash(() => {
      const message = vscode.l10n.t(
        'The backend ended unexpectedly and is starting again. A run goes on from its last checkpoint.',
      );
      offer(vscode.window.showWarningMessage, message, [restart(), showLogs()]);
    }),
    backend.onState((state) => {
      if (state !== 'failed') return;
      const message = backend.failure();
      offer(vscode.window.showErrorMessage, message, [restart(), ...openSettings(message), showLogs()]);
    }),
  );
}

const run = (title: string, command: Parameters<typeof commandId>[0]): Action => ({
  title,
  act: () => vscode.commands.executeCommand(commandId(command)),
});
const restart = (): Action => run(vscode.l10n.t('Restart'), 'restart');
const showLogs = (): Action => run(vscode.l10n.t('Show Logs'), 'showLogs');

/** Opens the setting that a message names. */
function openSettings(message: string): Action[] {
  const setting = /\bearlyExit(?:\.\w+)+/.exec(message)?.[0];
  if (setting === undefined) return [];
  const act = (): unknown => vscode.commands.executeCommand('workbench.action.openSettings', setting);
  return [{ title: vscode.l10n.t('Open Settings'), act }];
}

/** Code of a `UserError` that came over the connection; null for other errors. */
export function codeOf(error: unknown): unknown {
  const data = error instanceof Error && 'data' in error ? error.data : null;
  return typeof data === 'object' && data !== null && 'code' in data ? data.code : null;
}
