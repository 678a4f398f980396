/** Model and exits as one choice: which exits belong to which model, and what a text in the pick names. Knows no `vscode`. */
import { isHubId, modelBase } from '../../protocol/models.ts';
import { shippedModel } from '../../protocol/options/groups.ts';
import type { ExitsSummary, ModelSummary } from '../../protocol/server.ts';
import { expandHome } from '../settings/folder-paths.ts';

/** A model of the list: found below the folders, or chosen by its path or hub id from elsewhere. */
export type ListedModel = Omit<ModelSummary, 'kind'> & { readonly kind: ModelSummary['kind'] | 'path' | 'hub' };

/** A model's name as checkpoints record it, without the ending of a GGUF file, for titles and names of folders. */
export const modelTitle = (model: string): string => modelBase(model).replace(/\.gguf$/i, '');

/** A file of a cache by its own name, and apart from it the folder, which a list of a usual width has no room for; others as they are. */
export function fileInFolder(name: string): { label: string; folder: string } {
  const [, folder, file] = /^(.+)\/([^/]+\.gguf)$/i.exec(name) ?? [];
  return file === undefined ? { label: name, folder: '' } : { label: file, folder: folder! };
}

/** Whether exits were tuned for a model; exits that do not name their model may be. */
export const belongsTo = ({ model: own }: Pick<ExitsSummary, 'model'>, model: string): boolean =>
  own === '' || own === modelBase(model);

/** How the setting `earlyExit.model` names a model. */
export const settingOf = ({ kind, path }: ListedModel): string => (kind === 'shipped' ? shippedModel : path);

/** The model setting with which exits can be used: the current one if it is theirs, else the model of their name; null without one. */
export function modelFor(
  exits: Pick<ExitsSummary, 'model'>,
  current: string,
  models: readonly ListedModel[],
): string | null {
  if (belongsTo(exits, current)) return current;
  const found = models.find((model) => belongsTo(exits, settingOf(model)));
  return found ? settingOf(found) : null;
}

/** The models that were found, after the chosen one if it is not among them. */
export function withChosen(models: readonly ModelSummary[], current: string): ListedModel[] {
  if (models.some((model) => settingOf(model) === current)) return [...models];
  if (current === shippedModel) return [...models];
  return [{ path: current, name: modelBase(current), kind: isHubId(current) ? 'hub' : 'path' }, ...models];
}

/** What a typed or pasted text names; null if it is neither a path nor a hub id. */
export function typedModel(text: string): ListedModel | null {
  const path = expandHome(text.trim().replace(/^(["'])(.*)\1$/, '$2'));
  const id = path.replace(/^(?:https:\/\/)?(?:www\.)?huggingface\.co\//, '');
  if (isHubId(id)) return { path: id, name: modelBase(id), kind: 'hub' };
  const name = modelBase(path);
  const isPath = /^(?:[/\\.]|[A-Za-z]:[/\\])/.test(path) || /\.gguf$/i.test(path);
  return isPath && name !== '' ? { path, name, kind: 'path' } : null;
}
