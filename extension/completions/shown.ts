/** The suggestion that is shown while the rest of its line is still to come: whether it may become longer, and how the editor takes it anew. */
import * as vscode from 'vscode';
import type { Growing } from './asking.ts';

export interface Shown {
  /** Whether the user asks at this place by hand; this module does so itself when a suggestion has become longer. */
  isByHand(moment: string, isInvoked: boolean): boolean;
  /** The suggestion at a place, if it may become longer. */
  at(moment: string): Growing;
  /** Hides the suggestion at the cursor: it stays hidden when it becomes longer. */
  hide(): void;
  /** Runs `work`, during which a suggestion may become longer; Escape then hides it (`earlyExit.suggestionGrows`). */
  growing(work: Promise<void>): Promise<void>;
}

export function createShown(isEnabled: () => boolean): Shown {
  /** Where the editor asks next because it was told to. */
  let redrawn: string | null = null;
  /** Where the user has hidden one. */
  let hidden: string | null = null;
  let grows = 0;
  const tell = (): void => void vscode.commands.executeCommand('setContext', 'earlyExit.suggestionGrows', grows > 0);

  const redraw = async (moment: string): Promise<void> => {
    redrawn = moment;
    // An editor that still shows a suggestion keeps it first.
    void vscode.commands.executeCommand('editor.action.inlineSuggest.hide');
    await vscode.commands.executeCommand('editor.action.inlineSuggest.trigger');
    if (redrawn === moment) redrawn = null;
  };

  return {
    isByHand(moment, isInvoked) {
      const byHand = isInvoked && redrawn !== moment;
      if (isInvoked) redrawn = null;
      return byHand;
    },
    at(moment) {
      const isWanted = (): boolean => isEnabled() && momentNow() === moment && hidden !== moment;
      return { isWanted, grown: () => void (isWanted() && redraw(moment)) };
    },
    hide() {
      hidden = momentNow();
      void vscode.commands.executeCommand('editor.action.inlineSuggest.hide');
    },
    async growing(work) {
      grows++;
      tell();
      await work;
      grows--;
      tell();
    },
  };
}

/** A text and a cursor in it, at one time. */
export const momentOf = ({ uri, version }: vscode.TextDocument, { line, character }: vscode.Position): string =>
  [uri, version, line, character].join(' ');

function momentNow(): string | null {
  const editor = vscode.window.activeTextEditor;
  return editor?.selection.isEmpty ? momentOf(editor.document, editor.selection.active) : null;
}
