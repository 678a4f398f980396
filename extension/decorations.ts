/** Colours generated tokens by the depth at which they left, in theme colours that a user may change. */
import * as vscode from 'vscode';
import { depths } from '../protocol/exittrace.ts';
import { depthSpans } from './generated-text.ts';
import type { Generations } from './generations.ts';

export function decorateGenerations(generations: Generations, isOn: () => boolean): vscode.Disposable {
  const types = Array.from({ length: depths }, (_, i) =>
    vscode.window.createTextEditorDecorationType({
      backgroundColor: new vscode.ThemeColor(`earlyExit.exit${i + 1}`),
      borderRadius: '2px',
      rangeBehavior: vscode.DecorationRangeBehavior.ClosedClosed,
      overviewRulerColor: new vscode.ThemeColor(`earlyExit.exit${i + 1}`),
      overviewRulerLane: vscode.OverviewRulerLane.Center,
    }),
  );
  const draw = (): void => {
    for (const editor of vscode.window.visibleTextEditors) {
      const ranges = types.map((): vscode.Range[] => []);
      if (isOn()) {
        const { document } = editor;
        for (const generated of generations.in(document.uri)) {
          for (const { depth, span } of depthSpans(generated)) {
            const range = new vscode.Range(document.positionAt(span.start), document.positionAt(span.end));
            ranges[depth - 1]!.push(range);
          }
        }
      }
      types.forEach((type, i) => editor.setDecorations(type, ranges[i]!));
    }
  };
  // Tokens come faster than a screen shows them.
  let pending: NodeJS.Timeout | null = null;
  const soon = (): void => {
    pending ??= setTimeout(() => {
      pending = null;
      draw();
    }, 16);
  };
  return vscode.Disposable.from(
    ...types,
    generations.onChange(soon),
    vscode.window.onDidChangeVisibleTextEditors(soon),
    vscode.workspace.onDidChangeConfiguration((event) => event.affectsConfiguration('earlyExit.display') && soon()),
    new vscode.Disposable(() => pending && clearTimeout(pending)),
  );
}
