/** A tiny model with exits beside the same without. A file of its own, since programs that tests start have no vitest. */
import { afterAll } from 'vitest';
import type { Model } from '../../backend/model/open.ts';
import { openStagedModel, type ExitSet } from '../../backend/runtime/open.ts';
import { tinyModel } from './models.ts';

/** Closed after the last test of the file, or of the `describe` that opens it; `plain` has no exits. */
export async function openTiny(exitsOf: (model: Model) => ExitSet, family?: string) {
  const model = tinyModel(family);
  const exits = exitsOf(model);
  const staged = await openStagedModel(model, exits);
  const plain = await openStagedModel(model);
  afterAll(async () => {
    await staged.dispose();
    await plain.dispose();
    model.close();
  });
  return { model, exits, staged, plain };
}
