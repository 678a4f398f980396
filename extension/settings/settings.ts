/** Typed settings: the values of `earlyExit.*` for a recipe and for the display, and their errors. */
import * as vscode from 'vscode';
import { backendOptions, completionOptions, displayOptions } from '../../protocol/options/groups.ts';
import type { Option } from '../../protocol/options/kinds.ts';
import {
  optionTables,
  parseOptions,
  settingName,
  settingOrigin,
  type CommandName,
  type OptionTable,
  type OptionValues,
} from '../../protocol/options/options.ts';
import { describeError, userError } from '../../protocol/errors.ts';
import type { DisplayOptions, RecipeOptions } from '../../protocol/server.ts';
import { expandHome } from './folder-paths.ts';
import { restrictedSettings } from './restricted-settings.ts';

/** Options of a recipe that settings touch, by the recipe's names; defaults are left to the recipe. */
export function recipeSettings(command: CommandName, scope?: vscode.ConfigurationScope): RecipeOptions {
  const given: RecipeOptions = {};
  for (const [name, option] of Object.entries(optionTables[command] as OptionTable)) {
    const setting = settingName(option, name);
    const value = setting === null ? undefined : explicit(setting, scope);
    if (value !== undefined) given[name] = value;
  }
  return given;
}

/** Settings that name files, in which `~` may stand for the user's own folder. */
const pathSettings = ['earlyExit.model', 'earlyExit.decoding.exits', 'earlyExit.tuning.data'];

/**
 * The value that a user or a folder set, without `~`; undefined for the default. An untrusted folder's restricted values do not count.
 */
export function explicit(setting: string, scope?: vscode.ConfigurationScope): unknown {
  const found = vscode.workspace.getConfiguration(undefined, scope ?? null).inspect(setting);
  const countsInFolder = vscode.workspace.isTrusted || !restrictedSettings.includes(setting);
  const ofFolder = countsInFolder ? [found?.workspaceFolderValue, found?.workspaceValue] : [];
  // Null is a value: it takes back what is set further out.
  const value: unknown = [...ofFolder, found?.globalValue].find((each) => each !== undefined) ?? undefined;
  return pathSettings.includes(setting) ? withHome(value) : value;
}

function withHome(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withHome);
  return typeof value === 'string' ? expandHome(value) : value;
}

export type Display = OptionValues<typeof displayOptions>;

const displaySettings = (): Display => readGroup('display', displayOptions);
export type CompletionSettings = OptionValues<typeof completionOptions>;
export const completionSettings = (): CompletionSettings => readGroup('completions', completionOptions);
export const backendSettings = (): OptionValues<typeof backendOptions> => readGroup('backend', backendOptions);

/** The same; while one of them is wrong, the defaults. */
export function displayOrDefaults(): Display {
  try {
    return displaySettings();
  } catch {
    return defaultsOf(displayOptions);
  }
}

/** What the server needs to know of the display. */
export const serverDisplay = (display: Display): DisplayOptions => ({
  codeLens: display.codeLens,
  hover: display.hover,
  inlayHints: display.inlayHints,
  lineFigures: display.lineFigures,
  semanticTokens: display.colours,
});

/** Every mistake in the settings as a sentence that names the setting. */
export function settingProblems(): string[] {
  const problems: string[] = [];
  const attempt = (read: () => unknown): void => {
    try {
      read();
    } catch (error) {
      const problem = describeError(error);
      if (!problems.includes(problem)) problems.push(problem);
    }
  };
  for (const command of ['tune', 'generate', 'serve'] as const) {
    attempt(() => parseOptions(command, recipeSettings(command), settingOrigin));
  }
  attempt(displaySettings);
  attempt(completionSettings);
  attempt(backendSettings);
  return problems;
}

/**
 * Settings of completions, read once after each change; completions are off while one of them is wrong, which was shown when it was set.
 */
export function followCompletionSettings(subscriptions: vscode.Disposable[]): () => CompletionSettings {
  let known: CompletionSettings | null = null;
  const read = (): CompletionSettings => {
    try {
      return completionSettings();
    } catch {
      return { ...defaultsOf(completionOptions), enabled: false };
    }
  };
  subscriptions.push(
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration('earlyExit.completions')) known = null;
    }),
  );
  return () => (known ??= read());
}

const defaultsOf = <Table extends OptionTable>(table: Table): OptionValues<Table> =>
  Object.fromEntries(Object.entries(table).map(([name, option]) => [name, option.default])) as OptionValues<Table>;

function readGroup<Table extends OptionTable>(group: string, table: Table): OptionValues<Table> {
  const configuration = vscode.workspace.getConfiguration(`earlyExit.${group}`);
  const entries = Object.entries(table).map(([name, option]) => {
    const value: unknown = configuration.get(name) ?? option.default;
    return [name, readSetting(`earlyExit.${group}.${name}`, option, value)] as const;
  });
  return Object.fromEntries(entries) as OptionValues<Table>;
}

function readSetting(setting: string, option: Option<unknown>, value: unknown): unknown {
  const read = option.read(value);
  if (read.ok) return read.value;
  throw userError('bad-config', `${setting} must be ${read.expected}, not ${JSON.stringify(value)}.`);
}
