/** A model that cannot be opened keeps no memory. */
import { expect, it, vi } from 'vitest';
import type * as weights from '../../../backend/ggml/weights.ts';
import { openStagedModel } from '../../../backend/runtime/open.ts';
import { copiedExits, tinyModel } from '../../support/models.ts';

const open = vi.hoisted(() => ({ now: 0, most: 0 }));
vi.mock('../../../backend/ggml/weights.ts', async (original) => {
  const real = await original<typeof weights>();
  return {
    ...real,
    openWeights(...given: Parameters<typeof real.openWeights>) {
      const opened = real.openWeights(...given);
      open.most = Math.max(open.most, ++open.now);
      return { ...opened, dispose: () => (open.now--, opened.dispose()) };
    },
  };
});

it('gives back what it has taken where an exit cannot be opened', async () => {
  const exits = copiedExits(tinyModel(), [
    { layer: 1, architecture: 'norm', head: { kind: 'own' } },
    { layer: 2, architecture: 'norm', head: { kind: 'own' } },
  ]);
  const parameters = new Map([...exits.parameters].filter(([name]) => !name.startsWith('exits.2.')));
  await expect(openStagedModel(tinyModel(), { ...exits, parameters })).rejects.toThrow();
  expect(open.most).toBeGreaterThan(1);
  expect(open.now).toBe(0);
});
