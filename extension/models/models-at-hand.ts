/** The models on this machine, those recommended for it and those of the hub, as items of a pick; and a download with its progress. */
import * as vscode from 'vscode';
import { bytesText } from '../../protocol/bytes-text.ts';
import {
  fetchMinutes,
  fitsMemory,
  isHubId,
  recommendedFor,
  type HubChoice,
  type MachineModel,
} from '../../protocol/models.ts';
import * as protocol from '../../protocol/server.ts';
import type { App } from '../app.ts';
import { showPick } from './pick.ts';
import { fileInFolder } from './choices.ts';

/** An item that names a model: `reference` becomes the setting, after a download if necessary. */
export interface ModelItem extends vscode.QuickPickItem {
  readonly reference: string;
  readonly isHere: boolean;
  /** Why it cannot be taken. */
  readonly problem: string | null;
}

const separator = (label: string): vscode.QuickPickItem => ({ label, kind: vscode.QuickPickItemKind.Separator });

/** Models of this machine's caches, then those that are recommended and not here. */
export async function machineItems(app: App, current: string): Promise<(vscode.QuickPickItem | ModelItem)[]> {
  const { models, memoryBytes } = await app.backend.send(protocol.listMachineModels, {});
  const isHere = new Set(models.map(({ reference }) => reference));
  const recommended = recommendedFor(memoryBytes).filter(({ reference }) => !isHere.has(reference));
  return [
    ...(models.length > 0 ? [separator(vscode.l10n.t('on this machine'))] : []),
    ...models.map((model) => machineItem(model, memoryBytes, current)),
    ...(recommended.length > 0 ? [separator(vscode.l10n.t('recommended, to download'))] : []),
    ...recommended.map(({ reference, name, bytes, use }): ModelItem => ({
      label: `$(cloud-download) ${name}`,
      description: [
        vscode.l10n.t('{0}, about {1} min', bytesText(bytes), fetchMinutes(bytes)),
        use === 'chat' ? vscode.l10n.t('for chats') : vscode.l10n.t('for completions that fill in the middle'),
      ].join(' · '),
      reference,
      isHere: false,
      problem: null,
    })),
  ];
}

function machineItem(model: MachineModel, memoryBytes: number, current: string): ModelItem {
  const { cache, name, reference, bytes, type, problem } = model;
  const fits = fitsMemory(bytes, memoryBytes);
  const icon = problem !== null ? 'warning' : reference === current ? 'check' : 'symbol-misc';
  const { label, folder } = fileInFolder(name);
  const unfit = fits ? '' : vscode.l10n.t('does not fit in memory');
  return {
    label: `$(${icon}) ${label}`,
    description: [bytesText(bytes), type, unfit, cacheTexts()[cache], folder].filter((text) => text !== '').join(' · '),
    ...(problem !== null && { detail: problem }),
    reference,
    isHere: true,
    problem,
  };
}

const cacheTexts = (): Record<MachineModel['cache'], string> => ({
  huggingface: 'Hugging Face',
  ollama: 'Ollama',
  'lm-studio': 'LM Studio',
  'llama.cpp': 'llama.cpp',
  'early-exit': vscode.l10n.t('downloaded here'),
});

/** Asks for words, then for a model and a file of it. Null if the user dismissed it. */
export async function searchedModel(app: App): Promise<string | null> {
  const title = vscode.l10n.t('Search the Hugging Face hub');
  const query = await vscode.window.showInputBox({ title, prompt: vscode.l10n.t('Words in the name of a model') });
  if (query === undefined || query.trim() === '') return null;
  const found = await busy(title, (token) => app.backend.send(protocol.searchHub, { query: query.trim() }, token));
  const models = found.map(({ name, downloads }) => ({
    label: name,
    description: vscode.l10n.t('{0} downloads', downloads.toLocaleString('en')),
    name,
  }));
  const none = vscode.l10n.t('The hub has no model of that name.');
  const model = await showPick(models, { title, placeHolder: models.length === 0 ? none : query });
  if (!model) return null;
  const choices = await busy(model.name, (token) =>
    app.backend.send(protocol.listHubChoices, { repository: model.name }, token),
  );
  const picked = await showPick(choices.map(choiceItem), {
    title: model.name,
    placeHolder: choices.length === 0 ? vscode.l10n.t('This model has no file that can be opened here.') : '',
  });
  return picked?.reference ?? null;
}

const choiceItem = ({ reference, bytes, type }: HubChoice): vscode.QuickPickItem & { reference: string } => ({
  label: reference.split(':')[1] ?? reference,
  description: [bytesText(bytes), type].filter((text) => text !== '').join(' · '),
  reference,
});

/**
 * Downloads a model of the hub that is not on this machine, with its progress.
 * @throws CancellationError if the user stopped it.
 */
export async function requireModel(app: App, model: string): Promise<void> {
  if (!isHubId(model)) return;
  const { path } = await app.backend.send(protocol.findModel, { model });
  if (path === null && !(await download(app, model))) throw new vscode.CancellationError();
}

/** Downloads a model with its progress. False if it was stopped; the part stays for the next time. */
export async function download(app: App, reference: string): Promise<boolean> {
  const title = vscode.l10n.t('Downloading {0}', reference);
  return vscode.window.withProgress(
    { location: vscode.ProgressLocation.Notification, title, cancellable: true },
    async (progress, token) => {
      let percent = 0;
      const watch = app.backend.listen(protocol.downloadProgressed, (now) => {
        if (now.reference !== reference || now.total === 0) return;
        const done = (100 * now.done) / now.total;
        const message = `${bytesText(now.done)} / ${bytesText(now.total)}`;
        progress.report({ increment: Math.max(0, done - percent), message });
        percent = Math.max(percent, done);
      });
      try {
        await app.backend.send(protocol.downloadModel, { reference }, token);
        return true;
      } catch (error) {
        if (token.isCancellationRequested) return false;
        throw error;
      } finally {
        watch.dispose();
      }
    },
  );
}

const busy = <T>(title: string, work: (token: vscode.CancellationToken) => Promise<T>): Thenable<T> =>
  vscode.window.withProgress({ location: vscode.ProgressLocation.Window, title }, (_, token) => work(token));
