/** Says once that a run has finished, and offers to generate with its exits. */
import * as vscode from 'vscode';
import type { RunState } from '../protocol/server.ts';
import type { App } from './app.ts';
import { commandId } from './commands.ts';
import { generateAtCursor } from './generating.ts';
import { offer } from './messages.ts';

/** A run that had finished before this window saw it running is no news. */
export function announceFinishedRuns(app: App): vscode.Disposable {
  const states = new Map<string, RunState>();
  return app.runs.onChange(() => {
    for (const run of app.runs.list()) {
      const before = states.get(run.id);
      states.set(run.id, run.state);
      if (before !== 'running' || run.state !== 'finished') continue;
      const { model, directory: exits } = run;
      offer(vscode.window.showInformationMessage, vscode.l10n.t('{0}: the exits are tuned.', run.title), [
        { title: vscode.l10n.t('Generate'), act: () => generateAtCursor(app, { model, exits }) },
        {
          title: vscode.l10n.t('Show Loss Curves'),
          act: () => vscode.commands.executeCommand(commandId('showCurves'), run),
        },
      ]);
    }
  });
}
