/** The settings of generation that completions use: the device of the model, and its exits. Texts are unchanged. */
import * as vscode from 'vscode';
import type { RecipeOptions } from '../../protocol/server.ts';
import type { App } from '../app.ts';
import { withoutGpu } from '../generation/generating.ts';
import { inTrustedFolder } from '../settings/folders.ts';
import { exitsInUse } from '../models/model-and-exits.ts';
import { recipeSettings } from '../settings/settings.ts';

const taken = ['model', 'exits', 'device', 'gpuLayers', 'threads', 'precision', 'head', 'drafts', 'disable'] as const;

/** By folder; forgotten once a setting, a run, exits or the folder's trust change, because looking for exits walks through folders. */
const known = new WeakMap<App, Map<string, Promise<RecipeOptions>>>();

export function completionRequest(app: App, uri: vscode.Uri): Promise<RecipeOptions> {
  const all = known.get(app) ?? newRequests(app);
  const folder = vscode.workspace.getWorkspaceFolder(uri)?.uri.toString() ?? '';
  const found = all.get(folder);
  if (found) return found;
  const made = make(app, uri);
  all.set(folder, made);
  made.catch(() => all.delete(folder));
  return made;
}

export const forgetRequests = (app: App): void => known.get(app)?.clear();

function newRequests(app: App): Map<string, Promise<RecipeOptions>> {
  const all = new Map<string, Promise<RecipeOptions>>();
  known.set(app, all);
  const forget = (): void => all.clear();
  let finished = '';
  app.context.subscriptions.push(
    vscode.workspace.onDidChangeConfiguration((event) => event.affectsConfiguration('earlyExit') && forget()),
    vscode.workspace.onDidGrantWorkspaceTrust(forget),
    vscode.workspace.onDidChangeWorkspaceFolders(forget),
    app.backend.onReady(forget),
    app.runs.onChange(() => {
      const now = app.runs.list().map(({ id, state }) => `${id} ${state}`);
      if (now.join() !== finished) forget();
      finished = now.join();
    }),
  );
  return all;
}

async function make(app: App, uri: vscode.Uri): Promise<RecipeOptions> {
  const settings = await withoutGpu(app, recipeSettings('generate', uri));
  const own = Object.fromEntries(taken.flatMap((name) => (name in settings ? [[name, settings[name]]] : [])));
  const exits = await exitsInUse(app, uri);
  return inTrustedFolder({ ...own, ...(exits !== null && { exits }) }, uri);
}
