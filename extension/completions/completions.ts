/** Completions while the user types: when they are offered, and what happens to one that is accepted. */
import * as vscode from 'vscode';
import type { Trace } from '../../protocol/exittrace.ts';
import { modelBase } from '../../protocol/models.ts';
import { behindCharacters } from '../../protocol/suggestion.ts';
import type { App } from '../app.ts';
import { isGenerating } from '../generation/generating.ts';
import type { CompletionSettings } from '../settings/settings.ts';
import { createAsking, type Found, type Growing } from './asking.ts';
import type { Suggested } from './results.ts';
import { isInComment } from './comments.ts';
import { isLanguageOn } from './languages.ts';
import { placeOf, type Place } from './place.ts';
import { createShown, momentOf } from './shown.ts';
import { followVisits } from './visited.ts';

export interface Completions {
  /** Why completions are worse than they could be; empty if there is nothing to say. */
  readonly note: () => string;
  readonly onChange: vscode.Event<void>;
  /** One was taken whole, or what was left of it. */
  readonly onTaken: vscode.Event<void>;
  /** Hides a suggestion that would still become longer: it stays hidden. */
  readonly hide: () => void;
}

/** Number of suggestions if the user requests them by hand. */
const ALTERNATIVES = 3;
/** After this time without activity, the prompt with visited files is computed ahead. */
const READ_AHEAD_MILLISECONDS = 2_000;

const schemes = ['file', 'untitled'];

export function createCompletions(
  app: App,
  settings: () => CompletionSettings,
  subscriptions: vscode.Disposable[],
): Completions {
  const changed = new vscode.EventEmitter<void>();
  const taken = new vscode.EventEmitter<void>();
  const visited = followVisits(() => settings().enabled && settings().chunkTokens > 0, subscriptions);
  let note = '';
  const say = (text: string): void => {
    if (text === note) return;
    note = text;
    changed.fire();
  };
  const asking = createAsking(app, settings, visited.chunks, ({ fills }, model) =>
    say(
      fills
        ? ''
        : vscode.l10n.t(
            '{0} has no tokens for filling in the middle: it sees the text before the cursor alone.',
            modelBase(model),
          ),
    ),
  );

  const shown = createShown(() => settings().enabled);

  const provider: vscode.InlineCompletionItemProvider = {
    async provideInlineCompletionItems(document, position, context, token) {
      const now = settings();
      if (!isOfferedIn(document, now) || isGenerating()) return [];
      const isInvoked = context.triggerKind === vscode.InlineCompletionTriggerKind.Invoke;
      const moment = momentOf(document, position);
      const byHand = shown.isByHand(moment, isInvoked);
      // It stays down until the user asks for something.
      if (!byHand && app.backend.state() === 'failed') {
        say(app.backend.failure());
        return [];
      }
      const growing = isInvoked ? null : shown.at(moment);
      const place = placeOf(document, position, context, now);
      if (!byHand && !now.inComments && isInComment(document.languageId, place.around.prefix)) return [];
      const known = asking.known(place);
      if (known !== null && (!byHand || known.length > 1)) return offer(place, known, growing);
      if (!byHand) await delay(now.debounceMilliseconds);
      if (token.isCancellationRequested) return [];
      try {
        const found = await asking.ask(place, byHand ? ALTERNATIVES : 1, token);
        return found === null ? [] : offer(place, found, growing);
      } catch (error) {
        // No message is shown here: the status item shows the error.
        say(error instanceof Error ? error.message : String(error));
        app.backend.log.debug(`No completion: ${String(error)}`);
        return [];
      }
    },
  };

  const ahead = (place: Place, first: Suggested<Trace>, growing: Growing | null): Promise<void> => {
    const asked = asking.ahead(place, first, growing);
    return growing === null ? asked : shown.growing(asked);
  };

  const offer = (place: Place, found: readonly Found[], growing: Growing | null): vscode.InlineCompletionItem[] => {
    const { document, range, selected } = place;
    const left = found.map(({ text, of, typed }) => ({
      text,
      of: { ...of, tokens: behindCharacters(of.tokens, typed) },
    }));
    const [first, ...alternatives] = left;
    const mayGrow = alternatives.length === 0 && first?.of.stop === 'cancelled';
    // After this answer, so that it is not delayed.
    if (first) setImmediate(() => void ahead(place, first, mayGrow ? growing : null));
    return left.map(({ text, of }) => {
      const item = new vscode.InlineCompletionItem(selected + text, range);
      const start = document.offsetAt(range.start) + selected.length;
      item.command = {
        title: vscode.l10n.t('Show Exits'),
        command: 'earlyExit.completionAccepted',
        arguments: [document.uri.toString(), start, of],
      };
      return item;
    });
  };

  let timer: NodeJS.Timeout | undefined;
  const readAhead = (): void => {
    const editor = vscode.window.activeTextEditor;
    const now = settings();
    if (!editor || !isOfferedIn(editor.document, now) || isGenerating() || app.backend.state() !== 'running') return;
    asking.readAhead(placeOf(editor.document, editor.selection.active, { selectedCompletionInfo: undefined }, now));
  };
  subscriptions.push(
    changed,
    taken,
    vscode.languages.registerInlineCompletionItemProvider(
      schemes.map((scheme) => ({ scheme })),
      provider,
    ),
    vscode.commands.registerCommand(
      'earlyExit.completionAccepted',
      async (uri: string, offset: number, trace: Trace) => {
        taken.fire();
        if (settings().showExits) await showExits(app, uri, offset, trace);
      },
    ),
    visited.onChange(() => {
      clearTimeout(timer);
      timer = setTimeout(readAhead, READ_AHEAD_MILLISECONDS);
    }),
    new vscode.Disposable(() => clearTimeout(timer)),
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (!event.affectsConfiguration('earlyExit')) return;
      asking.clear();
      say('');
    }),
  );
  return { note: () => note, onChange: changed.event, onTaken: taken.event, hide: () => shown.hide() };
}

const isOfferedIn = ({ uri, languageId }: vscode.TextDocument, { enabled, languages }: CompletionSettings): boolean =>
  enabled && schemes.includes(uri.scheme) && isLanguageOn(languages, languageId);

async function showExits(app: App, uri: string, offset: number, trace: Trace): Promise<void> {
  const document = vscode.workspace.textDocuments.find((open) => open.uri.toString() === uri);
  if (document) await app.generations.attach(document, offset, trace);
}

/** Switches completions on or off at the level that sets them: in the folder, else for the user. */
export async function toggleCompletions(): Promise<void> {
  const configuration = vscode.workspace.getConfiguration('earlyExit.completions');
  const isFolders = configuration.inspect('enabled')?.workspaceValue !== undefined;
  const target = isFolders ? vscode.ConfigurationTarget.Workspace : vscode.ConfigurationTarget.Global;
  const isOn = configuration.get('enabled') !== true;
  await configuration.update('enabled', isOn, target);
  const message = isOn
    ? vscode.l10n.t('Early Exit: completions are on.')
    : vscode.l10n.t('Early Exit: completions are off.');
  vscode.window.setStatusBarMessage(message, 4_000);
}

const delay = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));
