/** Models for an editor: those on this machine, those of the hub, downloads, and exits by their base's hash. */
import { totalmem } from 'node:os';
import * as protocol from '../../protocol/server.ts';
import { localModel } from '../hub/hub.ts';
import { hubChoices, searchHub } from '../hub/search.ts';
import { cachedModels, placesHere } from '../hub/model-caches.ts';
import { exitsOfBase } from '../recipes/at-hand/catalogue.ts';
import { modelHash } from '../recipes/opening/model-hash.ts';
import { modelHere } from '../recipes/opening/model-location.ts';
import { resolveModel } from '../recipes/at-hand/shipped-model.ts';
import type { Incoming } from './incoming.ts';

export interface Answering {
  readonly answer: Incoming['answer'];
  readonly notify: <Params>(notification: protocol.Notification<Params>, params: Params) => void;
  readonly warn: (message: string) => void;
}

/** Milliseconds between two reports of progress. */
const tellMilliseconds = 200;

export function answerModels({ answer, notify, warn }: Answering): void {
  answer(protocol.listMachineModels, async () => ({
    models: await cachedModels(placesHere()),
    memoryBytes: totalmem(),
  }));
  answer(protocol.searchHub, ({ query }, token) => searchHub(query, { signal: signalOf(token) }));
  answer(protocol.listHubChoices, ({ repository }, token) => hubChoices(repository, { signal: signalOf(token) }));
  answer(protocol.downloadModel, async ({ reference }, token) => {
    let reportedAt = 0;
    const onProgress = (done: number, total: number): void => {
      const now = Date.now();
      if (now - reportedAt < tellMilliseconds && done < total) return;
      reportedAt = now;
      notify(protocol.downloadProgressed, { reference, done, total });
    };
    const path = await modelHere(reference, { onProgress, onWarning: warn, signal: signalOf(token) });
    return { path };
  });
  answer(protocol.findModel, async ({ model }) => ({ path: localModel(resolveModel(model)) }));
  answer(protocol.findExitsOf, async ({ folders, model }) => {
    const path = localModel(resolveModel(model));
    // A model that is not here has no exits here.
    const directory = path === null ? null : await exitsOfBase(folders, () => modelHash(path));
    return { directory };
  });
}

export function signalOf(token: { onCancellationRequested(listener: () => void): unknown }): AbortSignal {
  const controller = new AbortController();
  token.onCancellationRequested(() => controller.abort());
  return controller.signal;
}
