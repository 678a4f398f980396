/** The gap that a completion fills: windows of text around a cursor that do not move while the user types. Knows `vscode`'s documents. */
import * as vscode from 'vscode';
import { firstCharacters, fullLines, lastCharacters } from './window.ts';
import type { Around } from '../../protocol/suggestion.ts';
import type { CompletionSettings } from '../settings/settings.ts';

export interface Place {
  readonly document: vscode.TextDocument;
  /** Range that the inserted text replaces. */
  readonly range: vscode.Range;
  /** What is inserted first: the item that the list of suggestions has in focus. */
  readonly selected: string;
  readonly around: Around;
  /** Names for the model. */
  readonly repository: string;
  readonly file: string;
}

export function placeOf(
  document: vscode.TextDocument,
  position: vscode.Position,
  { selectedCompletionInfo: item }: Pick<vscode.InlineCompletionContext, 'selectedCompletionInfo'>,
  { prefixTokens, suffixTokens }: Pick<CompletionSettings, 'prefixTokens' | 'suffixTokens'>,
): Place {
  const range = item?.range ?? new vscode.Range(position, position);
  const selected = item?.text ?? '';
  const { first, last } = fullLines(position.line, document.lineCount, prefixTokens, suffixTokens);
  const text = (from: vscode.Position, to: vscode.Position): string =>
    document.getText(new vscode.Range(from, to)).replaceAll('\r\n', '\n');
  const end = document.lineAt(last).range.end;
  const before = text(new vscode.Position(first, 0), range.start);
  return {
    document,
    range,
    selected,
    around: {
      prefix: lastCharacters(before, prefixTokens) + selected,
      suffix: firstCharacters(text(range.end, end), suffixTokens),
    },
    repository: vscode.workspace.getWorkspaceFolder(document.uri)?.name ?? '',
    file: nameOf(document.uri),
  };
}

/** A file's path as the prompt has it: from its folder on, without the rest of this machine's path. */
export const nameOf = (uri: vscode.Uri): string =>
  vscode.workspace.asRelativePath(uri, false).split(/[/\\]/).slice(-4).join('/');
