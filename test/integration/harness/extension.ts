/** What suites share: the extension and its API, the workspace, processes of the backend. */
import path from 'node:path';
import * as vscode from 'vscode';
import type { EarlyExitApi } from '../../../extension/api.ts';
import type { RunState, RunSummary } from '../../../protocol/server.ts';
import { backendsOf, secondsComputed } from './backends.ts';
import { controlDirectory, delay, resize, screenshot, sizes, until } from './driver.ts';

export const EXTENSION_ID = 'early-exit.early-exit';

export async function activate(): Promise<EarlyExitApi> {
  const extension = vscode.extensions.getExtension<EarlyExitApi>(EXTENSION_ID);
  if (!extension) throw new Error(`${EXTENSION_ID} is not installed`);
  return extension.activate();
}

export const workspaceFolder = (): string => vscode.workspace.workspaceFolders![0]!.uri.fsPath;
export const fileUri = (name: string): vscode.Uri => vscode.Uri.file(path.join(workspaceFolder(), name));

/** Puts the cursor there. Resolves when the window has it there, so that what is typed next is not overtaken. */
export async function placeCursor(editor: vscode.TextEditor, position: vscode.Position): Promise<void> {
  editor.selection = new vscode.Selection(position, position);
  // What is asked of the window arrives in order, and setting the selection has no answer of its own.
  await vscode.commands.executeCommand('workbench.action.focusActiveEditorGroup');
}

/** Process ids of the backends that this window started. */
export const backendProcesses = (): number[] => backendsOf(controlDirectory());

/** Resolves once the backends have computed next to nothing for a second, so that all that was asked of them has come. */
export async function backendRests(): Promise<void> {
  const processes = backendProcesses();
  const computed = (): number => processes.reduce((sum, id) => sum + secondsComputed(id), 0);
  let [before, quietLooks] = [computed(), 0];
  await until(
    'the backend to rest',
    () => {
      const now = computed();
      quietLooks = now - before > 0.011 ? 0 : quietLooks + 1;
      before = now;
      return quietLooks >= 20;
    },
    60,
  );
}

/** While the backend's process stands still, nothing that it would have to say can come. */
export async function withBackendStopped(work: () => Promise<unknown>): Promise<void> {
  const processes = backendProcesses();
  for (const id of processes) process.kill(id, 'SIGSTOP');
  try {
    await work();
  } finally {
    for (const id of processes) process.kill(id, 'SIGCONT');
  }
}

export const runIs = (api: EarlyExitApi, id: string, states: readonly RunState[], seconds = 90): Promise<RunSummary> =>
  until(
    `run to be ${states.join(' or ')}`,
    async () => {
      const run = (await api.listRuns()).find((each) => each.id === id);
      if (run?.state === 'failed' && !states.includes('failed')) throw new Error(`The run failed: ${run.message}`);
      return run && states.includes(run.state) ? run : null;
    },
    seconds,
  );

/** Settings for a tuning that takes seconds: enough to see every part work. */
export const quickTuning = {
  exits: '4:norm,8:norm',
  head: 'shortlist',
  shortlist: 256,
  fitTokens: 2_000,
  evaluationTokens: 1_024,
  sequenceLength: 128,
  steps: 12,
  evaluateEvery: 6,
};

export const themes = {
  dark: 'Default Dark Modern',
  light: 'Default Light Modern',
  'high-contrast': 'Default High Contrast',
} as const;

const kinds = {
  dark: vscode.ColorThemeKind.Dark,
  light: vscode.ColorThemeKind.Light,
  'high-contrast': vscode.ColorThemeKind.HighContrast,
} as const;

/** Resolves when the editor shows it. A session begins with what it shows before its themes are loaded: only a change takes hold. */
export async function setTheme(theme: keyof typeof themes): Promise<void> {
  const configuration = vscode.workspace.getConfiguration('workbench');
  const set = (name: string): Thenable<void> =>
    configuration.update('colorTheme', name, vscode.ConfigurationTarget.Global);
  if (configuration.get('colorTheme') === themes[theme]) await set(themes[theme === 'light' ? 'dark' : 'light']);
  await set(themes[theme]);
  await until(`the theme ${themes[theme]}`, () => vscode.window.activeColorTheme.kind === kinds[theme]);
}

/** Milliseconds after which a page has drawn itself; a picture for the documentation waits for its last fading, too. */
const settled = process.env.EARLY_EXIT_PICTURE_MODEL ? 900 : 200;

/** What is on the screen in every theme and size, as `NAME-THEME.png` and `NAME-THEME-small.png`. */
export async function pictures(
  name: string,
  messages: 'without messages' | 'with messages' = 'without messages',
): Promise<void> {
  if (messages === 'without messages') await vscode.commands.executeCommand('notifications.clearAll');
  for (const theme of Object.keys(themes) as (keyof typeof themes)[]) {
    await setTheme(theme);
    for (const size of Object.keys(sizes) as (keyof typeof sizes)[]) {
      await resize(size);
      await delay(settled);
      await screenshot(`${name}-${theme}${size === 'large' ? '' : `-${size}`}`);
    }
    await resize('large');
  }
  await setTheme('dark');
}
