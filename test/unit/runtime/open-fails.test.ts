import { expect, it, vi } from 'vitest';
import type * as sessions from '../../../backend/onnx/session.ts';
import { openStagedModel } from '../../../backend/runtime/open.ts';
import { copiedExits, tinyModel } from '../../support/models.ts';

const open = vi.hoisted(() => ({ now: 0, most: 0 }));
vi.mock('../../../backend/onnx/session.ts', async (original) => {
  const real = await original<typeof sessions>();
  return {
    ...real,
    async openSession(...given: Parameters<typeof real.openSession>) {
      const session = await real.openSession(...given);
      open.most = Math.max(open.most, ++open.now);
      return { ...session, dispose: async () => (open.now--, session.dispose()) };
    },
  };
});

it('closes what it has opened where a later session cannot be', async () => {
  const exits = copiedExits(tinyModel(), [
    { layer: 1, architecture: 'norm', head: { kind: 'own' } },
    { layer: 2, architecture: 'norm', head: { kind: 'own' } },
  ]);
  const parameters = new Map([...exits.parameters].filter(([name]) => !name.startsWith('exits.2.')));
  await expect(openStagedModel(tinyModel(), { ...exits, parameters }, { engine: 'onnx' })).rejects.toThrow();
  expect(open.most).toBeGreaterThan(1);
  expect(open.now).toBe(0);
});
