/** A model that is needed and not here: downloaded with its progress, which the user may stop. */
import { beforeEach, expect, it } from 'vitest';
import type { App } from '../../../../extension/app.ts';
import { requireModel } from '../../../../extension/models/models-at-hand.ts';
import { downloadModel, findModel, type Request } from '../../../../protocol/server.ts';
import { CancellationError, progresses } from '../../../support/vscode.ts';

/** A backend that has these models, and ends a download once `ended` does. */
function appWith(models: readonly string[], ended: () => Promise<void>): App {
  const send = async (request: Request<unknown, unknown>, params: { model?: string; reference?: string }) => {
    if (request.method === findModel.method) return { path: models.includes(params.model!) ? '/cache' : null };
    expect([request.method, params.reference]).toEqual([downloadModel.method, 'owner/other']);
    await ended();
    return { path: '/cache' };
  };
  return { backend: { send, listen: () => ({ dispose: () => undefined }) } } as unknown as App;
}

beforeEach(() => void progresses.splice(0));

it('one of the hub is downloaded, and one that is here or a path is not', async () => {
  const app = appWith(['owner/name'], async () => undefined);
  await requireModel(app, 'owner/name');
  await requireModel(app, './missing.gguf');
  expect(progresses).toEqual([]);
  await requireModel(app, 'owner/other');
  expect(progresses.map(({ title }) => title)).toEqual(['Downloading {0}']);
});

it('nothing goes on without it if the user stops the download', async () => {
  const app = appWith([], async () => {
    progresses[0]!.source.cancel();
    throw new Error('Cancelled.');
  });
  await expect(requireModel(app, 'owner/other')).rejects.toThrow(CancellationError);
});
