/** As much of the editor's API as the code under test asks for, where no editor runs: settings, events, cancelling, messages, and chat models. */
import type { InlineCompletionItemProvider } from 'vscode';

type Listener = (event: unknown) => void;

export class EventEmitter {
  readonly #listeners = new Set<Listener>();
  readonly event = (listener: Listener): { dispose: () => void } => {
    this.#listeners.add(listener);
    return { dispose: () => void this.#listeners.delete(listener) };
  };
  fire(event?: unknown): void {
    for (const listener of this.#listeners) listener(event);
  }
  dispose(): void {
    this.#listeners.clear();
  }
}

export class CancellationTokenSource {
  readonly #cancelled = new EventEmitter();
  readonly token = { isCancellationRequested: false, onCancellationRequested: this.#cancelled.event };
  cancel(): void {
    this.token.isCancellationRequested = true;
    this.#cancelled.fire();
  }
  dispose(): void {
    this.#cancelled.dispose();
  }
}

export class Selection {
  readonly isEmpty = true;
  constructor(
    readonly anchor: unknown,
    readonly active: unknown,
  ) {}
}

export class CancellationError extends Error {}

export class Disposable {
  constructor(readonly dispose: () => void) {}
}

export class LanguageModelTextPart {
  constructor(readonly value: string) {}
}

type Level = 'globalValue' | 'workspaceValue' | 'workspaceFolderValue';
const settings: Readonly<Record<Level, Map<string, unknown>>> = {
  globalValue: new Map(),
  workspaceValue: new Map(),
  workspaceFolderValue: new Map(),
};
const changed = new EventEmitter();

export const ConfigurationTarget = { Global: 1, Workspace: 2, WorkspaceFolder: 3 } as const;
/** Where the extension wrote a setting last. */
export const writtenTo = new Map<string, number>();

/** Sets one, by default for the user, and tells of it. */
export function setSetting(name: string, value: unknown, level: Level = 'globalValue'): void {
  settings[level].set(name, value);
  changed.fire({ affectsConfiguration: (section: string) => name.startsWith(section) });
}

interface Folder {
  readonly uri: { readonly scheme: string; readonly path: string; readonly fsPath: string };
}

export const workspace = {
  isTrusted: true,
  workspaceFolders: undefined as readonly Folder[] | undefined,
  fs: { stat: async () => ({ mtime: 0 }) },
  onDidChangeConfiguration: changed.event,
  getConfiguration: (section?: string) => {
    const whole = (name: string): string => [section, name].filter(Boolean).join('.');
    return {
      inspect: (name: string) =>
        Object.fromEntries(Object.entries(settings).map(([level, values]) => [level, values.get(whole(name))])),
      get: (name: string) =>
        [settings.workspaceFolderValue, settings.workspaceValue, settings.globalValue]
          .map((values) => values.get(whole(name)))
          .find((value) => value !== undefined),
      update: async (name: string, value: unknown, target: number) => {
        writtenTo.set(whole(name), target);
        const levels = ['globalValue', 'workspaceValue', 'workspaceFolderValue'] as const;
        setSetting(whole(name), value, levels[target - 1]);
      },
    };
  },
  getWorkspaceFolder: ({ path }: { path: string }): Folder | undefined =>
    workspace.workspaceFolders?.find(({ uri }) => path === uri.path || path.startsWith(`${uri.path}/`)),
};

/** Its listeners hear of another active editor. */
export const activeEditorChanged = new EventEmitter();

/** What was said, without what could be picked. */
export const messages: string[] = [];
const say = async (message: string): Promise<undefined> => void messages.push(message);
export const ProgressLocation = { Notification: 15 } as const;
/** Notifications with progress: each a title, and a button that stops the work. */
export const progresses: { readonly title: string; readonly source: CancellationTokenSource }[] = [];
export const window = {
  async withProgress<T>(
    { title }: { title: string },
    work: (progress: unknown, token: unknown) => Promise<T>,
  ): Promise<T> {
    const source = new CancellationTokenSource();
    progresses.push({ title, source });
    return work({ report: () => undefined }, source.token);
  },
  showInformationMessage: say,
  showWarningMessage: say,
  showErrorMessage: say,
  onDidChangeActiveTextEditor: activeEditorChanged.event,
  activeTextEditor: undefined as { document: { uri: { path: string } } } | undefined,
  visibleTextEditors: [] as unknown[],
};
export const Uri = {
  file: (fsPath: string) => ({ fsPath }),
  joinPath: ({ fsPath }: { fsPath: string }, name: string) => ({ fsPath: `${fsPath}/${name}` }),
};
export const commands = {
  executeCommand: async (): Promise<undefined> => undefined,
  registerCommand: () => new Disposable(() => undefined),
};

/** Those that were registered. */
export const inlineProviders: InlineCompletionItemProvider[] = [];
export const languages = {
  registerInlineCompletionItemProvider(_selector: unknown, provider: InlineCompletionItemProvider) {
    inlineProviders.push(provider);
    return new Disposable(() => undefined);
  },
};
export const InlineCompletionTriggerKind = { Invoke: 0, Automatic: 1 } as const;

/** What was registered, by its vendor. */
export const chatProviders = new Map<string, unknown>();
export const lm = {
  registerLanguageModelChatProvider(vendor: string, provider: unknown) {
    chatProviders.set(vendor, provider);
    return { dispose: () => void chatProviders.delete(vendor) };
  },
};

export const l10n = { t: (text: string): string => text };
