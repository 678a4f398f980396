/** Colours generated tokens, and the token lines of trace files, by their exits, in theme colours that a user may change. */
import * as vscode from 'vscode';
import { markColour, shades, tintColour, type Shade } from '../../protocol/palette.ts';
import { shadeSpans } from './generated-text.ts';
import type { Generations } from './generations.ts';
import { traceHeads } from './trace-heads.ts';

type Ranges = Record<Shade, vscode.Range[]>;

export function decorateGenerations(generations: Generations, isOn: () => boolean): vscode.Disposable {
  const inText = types((shade) => ({
    backgroundColor: new vscode.ThemeColor(tintColour(shade)),
    borderStyle: 'solid',
    borderWidth: shade === 'final' ? '0 0 1px 0' : '0 0 2px 0',
    borderColor: new vscode.ThemeColor(markColour(shade)),
    rangeBehavior: vscode.DecorationRangeBehavior.ClosedClosed,
    ...(shade !== 'final' && {
      overviewRulerColor: new vscode.ThemeColor(markColour(shade)),
      overviewRulerLane: vscode.OverviewRulerLane.Center,
    }),
  }));
  const inTrace = types((shade) => ({ color: new vscode.ThemeColor(markColour(shade)) }));

  const draw = (): void => {
    for (const editor of vscode.window.visibleTextEditors) {
      const { document } = editor;
      const isTrace = document.languageId === 'exittrace';
      const none = emptyRanges();
      const ranges = isOn() ? (isTrace ? headRanges(document) : textRanges(document, generations)) : none;
      for (const shade of shades) {
        editor.setDecorations(inText[shade], isTrace ? [] : ranges[shade]);
        editor.setDecorations(inTrace[shade], isTrace ? ranges[shade] : []);
      }
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
  soon();
  return vscode.Disposable.from(
    ...Object.values(inText),
    ...Object.values(inTrace),
    generations.onChange(soon),
    vscode.window.onDidChangeVisibleTextEditors(soon),
    vscode.workspace.onDidChangeTextDocument(({ document }) => document.languageId === 'exittrace' && soon()),
    vscode.workspace.onDidChangeConfiguration((event) => event.affectsConfiguration('earlyExit.display') && soon()),
    new vscode.Disposable(() => pending && clearTimeout(pending)),
  );
}

function types(
  options: (shade: Shade) => vscode.DecorationRenderOptions,
): Record<Shade, vscode.TextEditorDecorationType> {
  const entries = shades.map((shade) => [shade, vscode.window.createTextEditorDecorationType(options(shade))]);
  return Object.fromEntries(entries) as Record<Shade, vscode.TextEditorDecorationType>;
}

const emptyRanges = (): Ranges => Object.fromEntries(shades.map((shade) => [shade, []])) as unknown as Ranges;

function textRanges(document: vscode.TextDocument, generations: Generations): Ranges {
  const ranges = emptyRanges();
  for (const generated of generations.in(document.uri)) {
    for (const { shade, span } of shadeSpans(generated)) {
      ranges[shade].push(new vscode.Range(document.positionAt(span.start), document.positionAt(span.end)));
    }
  }
  return ranges;
}

function headRanges(document: vscode.TextDocument): Ranges {
  const ranges = emptyRanges();
  for (const { shade, line, length } of traceHeads(document.getText())) {
    ranges[shade].push(new vscode.Range(line, 0, line, length));
  }
  return ranges;
}
