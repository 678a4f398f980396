/** Which model exits belong to, by a stub of the backend. */
import { expect, it } from 'vitest';
import type { App } from '../../../../extension/app.ts';
import { modelOfExits } from '../../../../extension/models/model-and-exits.ts';
import type { ExitsSummary } from '../../../../protocol/server.ts';

it('is the chosen one if it fits, else one in the folders, else the one of the run that wrote them', async () => {
  const found = [{ path: '/w/small.gguf', name: 'small.gguf', kind: 'gguf' }];
  const run = { directory: '/w/my.exits', model: '/elsewhere/big.gguf' };
  const app = {
    backend: { send: async () => found },
    runs: { refresh: async () => undefined, list: () => [run] },
  } as unknown as App;
  const modelOf = (model: string, directory = '/w/my.exits'): Promise<string | null> =>
    modelOfExits(app, { model, directory } as ExitsSummary, 'typescript-5m');
  expect(await modelOf('typescript-5m')).toBe('typescript-5m');
  expect(await modelOf('small.gguf')).toBe('/w/small.gguf');
  expect(await modelOf('big.gguf')).toBe('/elsewhere/big.gguf');
  expect(await modelOf('big.gguf', '/w/others.exits')).toBeNull();
  expect(await modelOf('gone.gguf')).toBeNull();
});
