/** `Tune Early Exits`: asks for what the settings leave open, starts a run and opens its curves. */
import path from 'node:path';
import * as vscode from 'vscode';
import { dataOptions, exitsOptions, placeOptions, shippedModel, tuningOptions } from '../../protocol/options/groups.ts';
import * as protocol from '../../protocol/server.ts';
import type { RecipeOptions, RunSummary } from '../../protocol/server.ts';
import { architectures, autoPlacesText, usualArchitecture } from '../../protocol/options/notations.ts';
import type { App } from '../app.ts';
import { modelTitle } from '../models/choices.ts';
import { freeExitsFolder, modelInFolder } from '../settings/folder-paths.ts';
import { currentFolder, workspaceFolders } from '../settings/folders.ts';
import { withoutGpu } from '../generation/generating.ts';
import { showFailure } from '../messages.ts';
import { askModel } from '../models/model-pick.ts';
import { showPick } from '../models/pick.ts';
import { runTitle } from './run-title.ts';
import { explicit, recipeSettings } from '../settings/settings.ts';
import { requireTrust } from '../settings/workspace-trust.ts';

/** With `overrides` nothing is asked; null if the user dismissed it, or if it failed, which was shown. */
export async function tune(app: App, overrides: RecipeOptions | null = null): Promise<RunSummary | null> {
  const folder = currentFolder();
  if (!folder) {
    void vscode.window.showInformationMessage(vscode.l10n.t('Open a folder first: exits are tuned on its files.'));
    return null;
  }
  if (!requireTrust()) return null;
  const settings = recipeSettings('tune', folder.uri);
  const chosen = overrides ?? (isAllSet(folder.uri) ? {} : await ask(app, settings, folder));
  if (chosen === null) return null;
  try {
    const given = { ...settings, ...chosen };
    const { fsPath } = folder.uri;
    await app.runs.refresh();
    const options = complete(await withoutGpu(app, given), fsPath, app.runs.list());
    const title = titleOf(given, folder.name, app);
    const run = await app.backend.send(protocol.startRun, { title, options, folder: fsPath });
    await app.curves.show(run.id);
    return run;
  } catch (error) {
    showFailure(app, error);
    return null;
  }
}

/** The model is the folder's if the folder has it, and the exits are written into the folder under a free name. */
const complete = (options: RecipeOptions, folder: string, runs: readonly RunSummary[]): RecipeOptions => ({
  ...options,
  ...modelInFolder(options, folder),
  out:
    typeof options.out === 'string'
      ? path.resolve(folder, options.out)
      : freeExitsFolder(folder, modelName(options), runs),
});

/** Model, data and preset are set: nothing is left to ask. */
const isAllSet = (scope: vscode.Uri): boolean =>
  ['earlyExit.model', 'earlyExit.tuning.data', 'earlyExit.tuning.preset'].every(
    (setting) => explicit(setting, scope) !== undefined,
  );

interface Choice extends vscode.QuickPickItem {
  readonly act: () => Promise<RecipeOptions | null>;
}

/** One pick from which one Enter starts; every other entry changes one thing and comes back. */
async function ask(app: App, settings: RecipeOptions, folder: vscode.WorkspaceFolder): Promise<RecipeOptions | null> {
  let chosen: RecipeOptions = {};
  const title =
    workspaceFolders().length > 1
      ? vscode.l10n.t('Tune Early Exits in {0}', folder.name)
      : vscode.l10n.t('Tune Early Exits');
  for (;;) {
    const options = { ...settings, ...chosen };
    const items: Choice[] = [
      {
        label: `$(rocket) ${vscode.l10n.t('Start Tuning')}`,
        detail: [modelName(options), ...ownData(options), exitsText(options), presetText(options)].join(' · '),
        act: async () => null,
      },
      {
        label: `$(symbol-misc) ${vscode.l10n.t('Model …')}`,
        description: modelName(options),
        act: async () => {
          const model = await askModel(app);
          return model === null ? null : { model };
        },
      },
      {
        label: `$(files) ${vscode.l10n.t('Data …')}`,
        description: dataText(options),
        act: askData,
      },
      {
        label: `$(git-branch) ${vscode.l10n.t('Exits …')}`,
        description: exitsText(options),
        act: () => askExits(options),
      },
      {
        label: `$(dashboard) ${vscode.l10n.t('Preset …')}`,
        description: presetText(options),
        act: () => askPreset(options),
      },
      {
        label: `$(server) ${vscode.l10n.t('Where …')}`,
        description: placeName(options),
        act: () => askPlace(options),
      },
    ];
    const placeHolder = vscode.l10n.t('Press Enter to start, or change something first');
    const picked = await showPick(items, {
      title,
      placeHolder,
      ignoreFocusOut: true,
    });
    if (!picked) return null;
    if (picked === items[0]) return chosen;
    chosen = { ...chosen, ...(await picked.act()) };
  }
}

async function askData(): Promise<RecipeOptions | null> {
  const here = { label: `$(root-folder) ${vscode.l10n.t("This folder's own files")}`, data: dataOptions.data.default };
  const folder = { label: `$(folder-opened) ${vscode.l10n.t('Another folder …')}` };
  const files = { label: `$(file) ${vscode.l10n.t('Files (text, or JSONL of texts or chats) …')}` };
  const glob = { label: `$(regex) ${vscode.l10n.t('Glob …')}` };
  const items: vscode.QuickPickItem[] = [here, folder, files, glob];
  const picked = await showPick(items, { title: vscode.l10n.t('Data'), ignoreFocusOut: true });
  if (picked === here) return { data: here.data };
  if (picked === glob) {
    const text = await vscode.window.showInputBox({ title: vscode.l10n.t('Glob'), value: 'src/**/*.ts' });
    return text === undefined || text.trim() === '' ? null : { data: [text.trim()] };
  }
  if (picked !== folder && picked !== files) return null;
  const uris = await vscode.window.showOpenDialog({
    canSelectFolders: picked === folder,
    canSelectFiles: picked === files,
    canSelectMany: true,
  });
  return uris ? { data: uris.map((uri) => uri.fsPath) } : null;
}

/** A line for each architecture; or layers of one's own. */
async function askExits(options: RecipeOptions): Promise<RecipeOptions | null> {
  const current = exitsOptions.exits.read(options.exits ?? exitsOptions.exits.default);
  const usual = current.ok && current.value.kind === 'auto' ? current.value.architecture : null;
  const items = Object.entries(architectures).map(([architecture, meaning]) => ({
    label: `$(${architecture === usual ? 'check' : 'git-branch'}) ${architecture}`,
    description: architecture === usualArchitecture ? vscode.l10n.t('default') : '',
    detail: vscode.l10n.t('At {0} of the depth: {1}', autoPlacesText, meaning),
    exits: architecture === usualArchitecture ? 'auto' : `auto:${architecture}`,
  }));
  const own = {
    label: `$(${usual === null ? 'check' : 'edit'}) ${vscode.l10n.t('Layers of your own …')}`,
    description: usual === null ? exitsText(options) : '',
  };
  const picked = await showPick<vscode.QuickPickItem & { exits?: string }>([...items, own], {
    title: vscode.l10n.t('Exits'),
    ignoreFocusOut: true,
  });
  return picked?.exits === undefined ? (picked ? askLayers(options) : null) : { exits: picked.exits };
}

async function askLayers(options: RecipeOptions): Promise<RecipeOptions | null> {
  const text = await vscode.window.showInputBox({
    title: vscode.l10n.t('Exits'),
    prompt: exitsOptions.exits.help,
    value: typeof options.exits === 'string' ? options.exits : 'auto',
    validateInput: (value) => {
      const read = exitsOptions.exits.read(value);
      return read.ok ? null : vscode.l10n.t('Must be {0}.', read.expected);
    },
  });
  return text === undefined ? null : { exits: text };
}

async function askPreset(options: RecipeOptions): Promise<RecipeOptions | null> {
  const items = Object.keys(tuningOptions.preset.values ?? {}).map((preset) => ({
    label: `$(${preset === presetOf(options) ? 'check' : 'dashboard'}) ${preset}`,
    description: [minutesOf(preset), preset === tuningOptions.preset.default && vscode.l10n.t('default')]
      .filter(Boolean)
      .join(' · '),
    preset,
  }));
  const picked = await showPick(items, { title: vscode.l10n.t('Preset'), ignoreFocusOut: true });
  return picked ? { preset: picked.preset } : null;
}

/** This machine, or one of the places on which PyTorch runs; those that need an address or names ask for them. */
async function askPlace(options: RecipeOptions): Promise<RecipeOptions | null> {
  const here = { label: `$(vm) ${vscode.l10n.t('Here')}`, on: 'here' };
  const torchrun = { label: `$(server-process) ${vscode.l10n.t('PyTorch on this machine')}`, on: 'torchrun' };
  const hosts = { label: `$(server-environment) ${vscode.l10n.t('PyTorch on hosts, over ssh …')}`, on: 'torchrun:' };
  const ray = { label: `$(cloud) ${vscode.l10n.t('A Ray cluster …')}`, on: 'ray:' };
  const slurm = { label: `$(file-code) ${vscode.l10n.t('A script for Slurm')}`, on: 'slurm' };
  const items = [here, torchrun, hosts, ray, slurm];
  const picked = await showPick(items, { title: vscode.l10n.t('Where'), ignoreFocusOut: true });
  if (!picked) return null;
  if (picked !== hosts && picked !== ray) return { on: picked.on };
  const known = placeName(options);
  const text = await vscode.window.showInputBox({
    title: vscode.l10n.t('Where'),
    prompt: placeOptions.on.help,
    value: known.startsWith(picked.on) ? known : `${picked.on}${picked === ray ? 'http://127.0.0.1:8265' : ''}`,
    validateInput: (value) => {
      const read = placeOptions.on.read(value);
      return read.ok ? null : vscode.l10n.t('Must be {0}.', read.expected);
    },
  });
  return text === undefined ? null : { on: text };
}

export const modelName = ({ model }: RecipeOptions): string =>
  typeof model === 'string' ? modelTitle(model) : shippedModel;

function titleOf(options: RecipeOptions, folder: string, app: App): string {
  const { exits, steps, minutes, data } = options;
  return runTitle(
    {
      model: modelName(options),
      exits: typeof exits === 'string' && exits !== 'auto' ? exits : null,
      preset: presetOf(options),
      steps: typeof steps === 'number' ? steps : null,
      minutes: typeof minutes === 'number' ? minutes : null,
      data: ownData(options).length > 0 ? dataName(data as readonly string[]) : folder,
    },
    app.runs.list().map(({ title }) => title),
  );
}

/** The last part of the first glob or path, and how many more there are. */
const dataName = ([first = '', ...more]: readonly string[]): string =>
  `${first.includes('*') ? first : path.basename(first)}${more.length > 0 ? ` +${more.length}` : ''}`;

function exitsText({ exits }: RecipeOptions): string {
  if (typeof exits !== 'string' || exits === 'auto') return vscode.l10n.t('usual exits');
  const architecture = /^auto:(\w+)$/.exec(exits)?.[1];
  return architecture === undefined ? exits : vscode.l10n.t('usual exits, {0}', architecture);
}

const presetOf = ({ preset }: RecipeOptions): string =>
  typeof preset === 'string' ? preset : String(tuningOptions.preset.default);

const minutesOf = (preset: string): string => tuningOptions.preset.values?.[preset] ?? '';

/** The preset with its minutes, unless steps or minutes of its own end the run. */
function presetText(options: RecipeOptions): string {
  const { steps, minutes } = options;
  const end =
    typeof steps === 'number'
      ? vscode.l10n.t('{0} steps', steps)
      : typeof minutes === 'number'
        ? vscode.l10n.t('{0} minutes', minutes)
        : minutesOf(presetOf(options));
  return `${presetOf(options)}, ${end}`;
}

const placeName = ({ on }: RecipeOptions): string => (typeof on === 'string' ? on : String(placeOptions.on.default));

const dataText = (options: RecipeOptions): string => ownData(options)[0] ?? vscode.l10n.t("this folder's files");

/** Data that is not this folder's. */
const ownData = ({ data }: RecipeOptions): string[] =>
  Array.isArray(data) && data !== dataOptions.data.default ? [data.join(', ')] : [];
