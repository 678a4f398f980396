/** Shows once that a run has finished and what its calibration found, and offers to generate, or to calibrate first if it was not calibrated. */
import * as vscode from 'vscode';
import * as protocol from '../../protocol/server.ts';
import type { RunState, RunSummary } from '../../protocol/server.ts';
import type { App } from '../app.ts';
import { commandId } from '../commands.ts';
import { calibrationMinutes, calibrationText, lacksText } from './exits-texts.ts';
import { generateAtCursor } from '../generation/generating.ts';
import { offer } from '../messages.ts';

/** A run that had finished before this window saw it running is no news. */
export function announceFinishedRuns(app: App): vscode.Disposable {
  const states = new Map<string, RunState>();
  return app.runs.onChange(() => {
    for (const run of app.runs.list()) {
      const before = states.get(run.id);
      states.set(run.id, run.state);
      if (before !== 'running' || run.state !== 'finished') continue;
      void announce(app, run).catch((error: unknown) => app.backend.log.warn(String(error)));
    }
  });
}

async function announce(app: App, run: RunSummary): Promise<void> {
  const { events } = await app.backend.send(protocol.readRun, { id: run.id, from: 0 });
  const all = events.map(({ event }) => event);
  const minutes = calibrationMinutes(all);
  const calibrated = all.findLast((event) => event.type === 'calibrated');
  const { model, directory: exits } = run;
  const tuned = vscode.l10n.t('{0}: the exits are tuned.', run.title);
  const then = calibrated
    ? vscode.l10n.t('They are calibrated: {0}', calibrationText(calibrated))
    : (lacksText(all) ??
      vscode.l10n.t('By default no token leaves early until they are calibrated. That takes about {0} min.', minutes!));
  const calibrate = {
    title: vscode.l10n.t('Calibrate'),
    act: () => vscode.commands.executeCommand(commandId('calibrate'), run),
  };
  offer(vscode.window.showInformationMessage, `${tuned} ${then}`, [
    ...(minutes === null ? [] : [calibrate]),
    { title: vscode.l10n.t('Generate'), act: () => generateAtCursor(app, { model, exits }) },
    {
      title: vscode.l10n.t('Show Loss Curves'),
      act: () => vscode.commands.executeCommand(commandId('showCurves'), run),
    },
  ]);
}
