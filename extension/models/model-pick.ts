/**
 * The pick of a model: the one that ships, those in the folder and in the caches of other programs, recommended ones, a search of the hub,
 * or a typed or pasted path or hub id.
 */
import * as vscode from 'vscode';
import { userError } from '../../protocol/errors.ts';
import * as protocol from '../../protocol/server.ts';
import type { App } from '../app.ts';
import { settingOf, typedModel, withChosen, type ListedModel } from './choices.ts';
import { modelInFolder } from '../settings/folder-paths.ts';
import { trustedWorkspaceFolders, workspaceFolders } from '../settings/folders.ts';
import { chosenModel } from './model-and-exits.ts';
import { download, machineItems, searchedModel, type ModelItem } from './models-at-hand.ts';
import { showPick } from './pick.ts';

type Item = vscode.QuickPickItem &
  Partial<ModelItem> & { readonly model?: ListedModel; readonly browse?: 'folder' | 'file' | 'hub' };

/** A value for the setting `earlyExit.model`; null if the user dismissed the pick. */
export async function askModel(app: App): Promise<string | null> {
  const folders = trustedWorkspaceFolders();
  const found = withChosen(await app.backend.send(protocol.listModels, { folders }), chosenModel());
  const items: Item[] = [
    ...found.map(modelItem),
    ...(await machineItems(app, chosenModel())),
    { label: '', kind: vscode.QuickPickItemKind.Separator },
    { label: `$(search) ${vscode.l10n.t('Search the Hugging Face hub …')}`, browse: 'hub' },
    { label: `$(folder-opened) ${vscode.l10n.t('Folder in Hugging Face format …')}`, browse: 'folder' },
    { label: `$(file) ${vscode.l10n.t('GGUF file …')}`, browse: 'file' },
  ];
  const title = vscode.l10n.t('Model');
  const placeHolder = vscode.l10n.t('Choose a model, or paste a path or a hub id such as owner/name');
  const options = { title, placeHolder, ignoreFocusOut: true, matchOnDescription: true };
  const picked = await showPick(items, options, typedItems);
  if (picked?.model) return isOfHub(picked.model) ? downloaded(app, picked.model.path) : settingOf(picked.model);
  if (picked?.problem)
    throw userError('bad-model', picked.problem, vscode.l10n.t('Download it again, or choose another one.'));
  if (picked?.reference !== undefined) return picked.isHere ? picked.reference : downloaded(app, picked.reference);
  if (picked?.browse === 'hub') {
    const reference = await searchedModel(app);
    return reference === null ? null : downloaded(app, reference);
  }
  return picked?.browse ? browse(picked.browse) : null;
}

/** A path of a folder may look like an id of the hub. */
const isOfHub = ({ kind, path: model }: ListedModel): boolean =>
  kind === 'hub' && !('model' in modelInFolder({ model }, workspaceFolders()[0]));

const downloaded = async (app: App, reference: string): Promise<string | null> =>
  (await download(app, reference)) ? reference : null;

export const kindText = ({ kind, path }: ListedModel): string =>
  ({
    shipped: vscode.l10n.t('ships with the extension · 5 million parameters, to see how exits work'),
    hub: vscode.l10n.t('from the hub'),
    folder: path,
    gguf: path,
    path,
  })[kind];

const modelItem = (model: ListedModel): Item => ({
  label: `$(${settingOf(model) === chosenModel() ? 'check' : 'symbol-misc'}) ${model.name}`,
  description: kindText(model),
  model,
});

/** An entry for what was typed, if that names a model. */
function typedItems(value: string): Item[] {
  const model = typedModel(value);
  if (!model) return [];
  const description = model.kind === 'hub' ? vscode.l10n.t('from the hub') : vscode.l10n.t('use this path');
  return [{ label: `$(arrow-right) ${model.path}`, description, alwaysShow: true, model }];
}

/** The path of a folder or a GGUF file that the user chooses; null if none. */
export async function browse(what: 'folder' | 'file'): Promise<string | null> {
  const [uri] =
    (await vscode.window.showOpenDialog({
      canSelectFolders: what === 'folder',
      canSelectFiles: what === 'file',
      ...(what === 'file' && { filters: { GGUF: ['gguf'] } }),
    })) ?? [];
  return uri?.fsPath ?? null;
}
