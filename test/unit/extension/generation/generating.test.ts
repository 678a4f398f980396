/** With which options a text is written and continued, by a stub of the editor. */
import { expect, it, vi } from 'vitest';
import type { App } from '../../../../extension/app.ts';
import { continueGeneration, generateAtCursor } from '../../../../extension/generation/generating.ts';
import type { Generations } from '../../../../extension/generation/generations.ts';
import type { RecipeOptions } from '../../../../protocol/server.ts';
import { setSetting, window } from '../../../support/vscode.ts';

vi.mock('../../../../extension/completions/place.ts', () => ({
  placeOf: () => ({ around: { prefix: 'a', suffix: '' }, repository: '', file: 'a.ts' }),
}));

it('a text goes on with the model and exits that it was written with, though others are chosen by then', async () => {
  const uri = { path: '/a.ts', toString: () => 'file:///a.ts' };
  const document = { uri, version: 1, offsetAt: () => 0, positionAt: () => ({ line: 0 }) };
  window.visibleTextEditors = [(window.activeTextEditor = { document, selection: { isEmpty: true } } as never)];
  const requests: RecipeOptions[] = [];
  let kept: RecipeOptions = {};
  const generations: Partial<Generations> = {
    find: () => ({ id: '1', uri: uri.toString(), span: { start: 0, end: 0 }, overrides: kept }) as never,
    async intoEditor(_editor, _source, options, _token, more) {
      requests.push(options);
      kept = more!.overrides!;
      return null;
    },
  };
  const app = { backend: { start: async () => {}, runtime: () => null }, generations } as unknown as App;

  setSetting('earlyExit.model', '/models/first.gguf');
  setSetting('earlyExit.decoding.exits', '/first.exits');
  await generateAtCursor(app, { seed: 7 });
  setSetting('earlyExit.model', '/models/second.gguf');
  setSetting('earlyExit.decoding.exits', '/second.exits');
  setSetting('earlyExit.decoding.maxTokens', 9);
  await continueGeneration(app, '1');
  const first = { model: '/models/first.gguf', exits: '/first.exits', seed: 7 };
  expect(requests).toEqual([first, { ...first, maxTokens: 9 }]);
});
