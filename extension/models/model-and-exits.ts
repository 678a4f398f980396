/** Model and exits as one choice in the settings: choosing either keeps the other fitting. */
import * as vscode from 'vscode';
import { modelBase } from '../../protocol/models.ts';
import { shippedModel } from '../../protocol/options/groups.ts';
import * as protocol from '../../protocol/server.ts';
import type { ExitsSummary, StudySummary } from '../../protocol/server.ts';
import type { App } from '../app.ts';
import { belongsTo, modelFor, withChosen } from './choices.ts';
import { commandId } from '../commands.ts';
import { currentScope, inTrustedFolder, trustedWorkspaceFolders, workspaceFolders } from '../settings/folders.ts';
import { offer } from '../messages.ts';
import { showPick } from './pick.ts';
import { explicit } from '../settings/settings.ts';

const MODEL = 'earlyExit.model';
const EXITS = 'earlyExit.decoding.exits';

/** Value of the setting `earlyExit.model`, by default for the active document. */
export function chosenModel(scope = currentScope()): string {
  const model = explicit(MODEL, scope);
  return typeof model === 'string' ? model : shippedModel;
}

/**
 * Directory of the exits that generation uses: the chosen ones, else the newest of the model; null without any. Chosen exits are those of the
 * chosen model: another one, such as a chat's, has its newest.
 */
export async function exitsInUse(app: App, scope = currentScope(), model = chosenModel(scope)): Promise<string | null> {
  const chosen = model === chosenModel(scope) ? chosenExits(scope) : null;
  if (chosen !== null) return chosen;
  return vscode.workspace.isTrusted ? newestExits(app, model) : null;
}

/** Directory that the setting `earlyExit.decoding.exits` names; null without one. */
function chosenExits(scope = currentScope()): string | null {
  const { exits } = inTrustedFolder({ exits: explicit(EXITS, scope) }, scope);
  return typeof exits === 'string' ? exits : null;
}

/** The newest exits of a model below the folders: by its name, else by its weights, which may lie under another name. */
async function newestExits(app: App, model: string): Promise<string | null> {
  const all = await listExits(app);
  const own = all.filter((exits) => belongsTo(exits, model));
  if (own.length === 0 && all.length > 0) {
    const folders = trustedWorkspaceFolders();
    return (await app.backend.send(protocol.findExitsOf, { folders, model })).directory;
  }
  const times = await Promise.all(
    own.map(async ({ directory }) => {
      const file = vscode.Uri.joinPath(vscode.Uri.file(directory), 'exits.json');
      return { directory, at: (await vscode.workspace.fs.stat(file)).mtime };
    }),
  );
  return times.sort((a, b) => b.at - a.at)[0]?.directory ?? null;
}

export const listExits = async (app: App): Promise<ExitsSummary[]> => {
  const folders = trustedWorkspaceFolders();
  return folders.length === 0 ? [] : app.backend.send(protocol.listExits, { folders });
};

export const listStudies = async (app: App): Promise<StudySummary[]> => {
  const folders = trustedWorkspaceFolders();
  return folders.length === 0 ? [] : app.backend.send(protocol.listStudies, { folders });
};

/** The model for which exits were tuned: the chosen one, one in the folders, or the one of the run that wrote them; null if none is found. */
export async function modelOfExits(app: App, exits: ExitsSummary, chosen: string): Promise<string | null> {
  const found = await app.backend.send(protocol.listModels, { folders: trustedWorkspaceFolders() });
  const model = modelFor(exits, chosen, withChosen(found, chosen));
  if (model !== null) return model;
  await app.runs.refresh();
  const run = app.runs.list().find(({ directory }) => directory === exits.directory);
  return run && belongsTo(exits, run.model) ? run.model : null;
}

/** Chooses exits and the model for which they were tuned. If that is not found, the user is asked for it. */
export async function useExits(app: App, exits: ExitsSummary): Promise<void> {
  const current = chosenModel();
  const model = await modelOfExits(app, exits, current);
  if (model === null) {
    const message = vscode.l10n.t(
      '{0} was tuned for {1}, which is not among the models of this folder.',
      exits.name,
      exits.model,
    );
    const choose = { title: vscode.l10n.t('Choose Model …'), act: () => chooseModelFor(exits) };
    return offer(vscode.window.showWarningMessage, message, [choose]);
  }
  if (model !== current) await set(MODEL, model);
  await set(EXITS, exits.directory);
}

/** Chooses a model; exits that were chosen for another one give way to the newest of this. */
export async function useModel(app: App, model: string): Promise<void> {
  const chosen = model === chosenModel() ? null : chosenExits();
  const exits = (await listExits(app)).find(({ directory }) => directory === chosen);
  if (chosen !== null && (!exits || !belongsTo(exits, model))) await set(EXITS, undefined);
  await set(MODEL, model);
}

/** The exits of the chosen model first, then those of other models; choosing one of those also chooses its model. */
export async function chooseExits(app: App): Promise<void> {
  const model = chosenModel();
  const all = await listExits(app);
  const item = (exits: ExitsSummary): vscode.QuickPickItem & { exits: ExitsSummary } => ({
    label: exits.name,
    description: exits.exits.join(' '),
    exits,
  });
  const others = all.filter((exits) => !belongsTo(exits, model));
  const newest = { label: `$(history) ${vscode.l10n.t('Newest for {0}', modelBase(model))}` };
  const separator = { label: vscode.l10n.t('with another model'), kind: vscode.QuickPickItemKind.Separator };
  const items: (vscode.QuickPickItem & { exits?: ExitsSummary })[] = [
    newest,
    ...all.filter((exits) => belongsTo(exits, model)).map(item),
    ...(others.length > 0 ? [separator] : []),
    ...others.map((exits) => ({ ...item(exits), description: `${exits.model} · ${exits.exits.join(' ')}` })),
  ];
  const picked = await showPick(items, { title: vscode.l10n.t('Exits for generation') });
  if (picked?.exits) return useExits(app, picked.exits);
  if (picked) await set(EXITS, undefined);
}

async function chooseModelFor(exits: ExitsSummary): Promise<void> {
  await vscode.commands.executeCommand(commandId('chooseModel'));
  if (belongsTo(exits, chosenModel())) await set(EXITS, exits.directory);
}

/**
 * Sets a value where it counts for the active document: in its folder if that has one, else in the workspace, else, as in folders that are
 * not trusted, for the user. Undefined removes a value wherever it counts.
 */
async function set(setting: string, value: unknown): Promise<void> {
  const { Global, Workspace, WorkspaceFolder } = vscode.ConfigurationTarget;
  const counts = vscode.workspace.workspaceFolders !== undefined && vscode.workspace.isTrusted;
  const configuration = vscode.workspace.getConfiguration(undefined, currentScope() ?? null);
  const found = configuration.inspect(setting);
  const isOfFolder = counts && workspaceFolders().length > 1 && found?.workspaceFolderValue !== undefined;
  const [first, ...others] = [
    ...(isOfFolder ? [WorkspaceFolder] : []),
    ...(counts && (!isOfFolder || found?.workspaceValue !== undefined) ? [Workspace] : []),
    ...(!counts || found?.globalValue !== undefined ? [Global] : []),
  ];
  await configuration.update(setting, value, first);
  if (value === undefined) for (const target of others) await configuration.update(setting, undefined, target);
}
