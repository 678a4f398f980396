/** A model in stages computes what it computes uncut, bit for bit: drafts of its exits could not be verified otherwise. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openKvCache } from '../../../backend/decoding/cache/kv-cache.ts';
import type { ExitSpec } from '../../../backend/exits/spec.ts';
import { openModel, type Model } from '../../../backend/model/open.ts';
import { openGgmlModel } from '../../../backend/runtime/ggml/model.ts';
import { noExits } from '../../../backend/runtime/open.ts';
import type { StagedModel } from '../../../backend/runtime/staged-model.ts';
import { fixtures } from '../../support/golden.ts';
import { copiedExits } from '../../support/models.ts';

const families = readdirSync(join(fixtures, 'tiny'));
const head = { kind: 'shared' } as const;

/** With stages that run together, or one by one. */
async function logits(model: StagedModel, ids: readonly number[], together = true): Promise<Float32Array[]> {
  const cache = openKvCache(model, 1);
  const all: Float32Array[] = [];
  for (const pass of [ids.slice(0, 5), ids.slice(5, 6), ids.slice(6, 9)]) {
    cache.enter(0, pass);
    for (let stages = 1; stages < model.stages.length && !together; stages++) await cache.advance(stages, [0]);
    await cache.advance(model.stages.length, [0]);
    const [said] = await cache.read(model.exits.length - 1, [0], [1], { logits: true });
    all.push(said!.logits!);
  }
  return all;
}

test.each(families.flatMap((family) => (['exact', 'stored'] as const).map((form) => [family, form] as const)))(
  '%s, %s',
  async (family, form) => {
    // Floats as they are stored: models as small as these are otherwise computed in 32 bits.
    const open = (model: Model, exits = noExits): Promise<StagedModel> => openGgmlModel(model, exits, { form });
    const model = openModel(join(fixtures, 'tiny', family));
    const last = model.spec.layers.length;
    const specs: ExitSpec[] = [
      { layer: 1, architecture: 'lens', head },
      { layer: Math.max(2, last - 1), architecture: 'mlp', head },
    ];
    const uncut = await open(model);
    const cut = await open(model, copiedExits(model, specs));
    expect(cut.stages.length).toBe(3);
    const ids = Array.from({ length: 9 }, (_, i) => (11 * i + 5) % model.spec.vocabulary);
    const whole = await logits(uncut, ids);
    expect(await logits(cut, ids)).toEqual(whole);
    expect(await logits(cut, ids, false)).toEqual(whole);
    for (const each of [uncut, cut]) await each.dispose();
    model.close();
  },
);
