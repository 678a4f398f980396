/** Ticks the steps of the walkthrough: a run has finished, its curves were seen, text was generated, its exits looked at, a model chosen, a completion taken. */
import * as vscode from 'vscode';
import type { App } from './app.ts';
import type { Completions } from './completions/completions.ts';
import { milestoneKey, type Milestone } from './milestones.ts';

const KEPT = 'milestones';
/** What VS Code needs, after the walkthrough was opened, to know its steps. */
const OPENING_MILLISECONDS = 1_000;

export function followWalkthrough(
  { context, runs, curves, generations, details }: App,
  completions: Pick<Completions, 'onTaken'>,
): vscode.Disposable {
  const reached = new Set(context.globalState.get<Milestone[]>(KEPT, []));
  const reach = (milestone: Milestone): void => {
    if (reached.has(milestone)) return;
    reached.add(milestone);
    void context.globalState.update(KEPT, [...reached]);
    void tick(milestone);
  };
  const tickAll = (): void => {
    for (const milestone of reached) void tick(milestone);
  };
  const hasFinished = (): boolean => runs.list().some(({ state }) => state === 'finished');
  return vscode.Disposable.from(
    runs.onChange(() => hasFinished() && reach('tune')),
    curves.onFilled(() => reach('curves')),
    generations.onFinished(() => reach('generate')),
    details.onShown(() => reach('look')),
    vscode.workspace.onDidChangeConfiguration(
      (event) => event.affectsConfiguration('earlyExit.model') && reach('model'),
    ),
    completions.onTaken(() => reach('complete')),
    // A walkthrough has a tab of no kind that extensions know.
    vscode.window.tabGroups.onDidChangeTabs(({ opened }) => {
      if (opened.some(({ input }) => input === undefined)) setTimeout(tickAll, OPENING_MILLISECONDS);
    }),
  );
}

/**
 * VS Code ticks a step when its key becomes true, and only if the step was open before: a key that was already true when the walkthrough
 * was opened never ticks. So a key is true for a moment, and again whenever the walkthrough is opened.
 */
async function tick(milestone: Milestone): Promise<void> {
  await vscode.commands.executeCommand('setContext', milestoneKey(milestone), true);
  await vscode.commands.executeCommand('setContext', milestoneKey(milestone), false);
}
