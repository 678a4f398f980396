/**
 * Explains the purpose of the model that ships, once, after the first text that it wrote, and offers two better ones. It is small so that
 * it can ship with the extension.
 */
import * as vscode from 'vscode';
import { bytesText } from '../../protocol/bytes-text.ts';
import { shippedModel } from '../../protocol/options/groups.ts';
import { betterModels, fetchMinutes, type Recommended } from '../../protocol/models.ts';
import type { App } from '../app.ts';
import { offer } from '../messages.ts';
import { chosenModel, useModel } from './model-and-exits.ts';
import { download } from './models-at-hand.ts';

const SAID = 'earlyExit.saidBetterModels';

export function offerBetterModels(app: App): vscode.Disposable {
  const { globalState } = app.context;
  return app.generations.onFinished(() => {
    if (chosenModel() !== shippedModel || globalState.get(SAID) === true) return;
    void globalState.update(SAID, true);
    const [code, chat] = betterModels();
    const message = vscode.l10n.t(
      'The model that ships has 5 million parameters: it is here to show how exits work, and its code is often wrong. Better: {0} for code ({1}), {2} for chats ({3}).',
      code.name,
      sizeAndTime(code),
      chat.name,
      sizeAndTime(chat),
    );
    const actions = [code, chat].map((model) => ({
      title: vscode.l10n.t('Get {0}', model.name),
      act: () => fetch(app, model),
    }));
    offer(vscode.window.showInformationMessage, message, actions);
  });
}

/** Such as `530 MB, about 1 min`. */
const sizeAndTime = ({ bytes }: Pick<Recommended, 'bytes'>): string =>
  vscode.l10n.t('{0}, about {1} min', bytesText(bytes), fetchMinutes(bytes));

async function fetch(app: App, { reference }: Recommended): Promise<void> {
  if (await download(app, reference)) await useModel(app, reference);
}
