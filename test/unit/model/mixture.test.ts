/** A mixture of experts is data of a layer: between dense layers, one expert alone is the dense MLP that it is made of. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openSafetensors, writeSafetensors } from '../../../backend/formats/safetensors.ts';
import { openModel } from '../../../backend/model/open.ts';
import { noExits, openStagedModel } from '../../../backend/runtime/open.ts';
import { finalLogits } from '../../support/decoding.ts';
import { fixtures, maxDifference, readGolden } from '../../support/golden.ts';
import { temporaryFolder } from '../formats/fixtures.ts';

const dense = join(fixtures, 'tiny', 'qwen3');
const golden = readGolden<{ ids: number[]; logits: number[][] }>('tiny', 'qwen3', 'golden.json');

/** Qwen 3 whose second layer is a mixture: this number of times its own MLP, of which some are chosen. */
function withMixture(experts: number, chosen: number, normalised: boolean): string {
  const folder = join(temporaryFolder(), 'model');
  mkdirSync(folder);
  const source = openSafetensors(dense);
  const tensors = [...source.tensors.values()].flatMap((tensor) => {
    const bytes = source.read(tensor);
    if (!tensor.name.startsWith('model.layers.1.mlp.')) return [{ ...tensor, bytes }];
    return Array.from({ length: experts }, (_, n) => ({
      ...tensor,
      name: tensor.name.replace('.mlp.', `.mlp.experts.${n}.`),
      bytes,
    }));
  });
  source.close();
  const config = JSON.parse(readFileSync(join(dense, 'config.json'), 'utf8')) as Record<string, number>;
  const router = new Float32Array(experts * config['hidden_size']!).map((_, i) => Math.sin(i));
  writeSafetensors(join(folder, 'model.safetensors'), [
    ...tensors,
    {
      name: 'model.layers.1.mlp.gate.weight',
      type: 'F32',
      shape: [experts, config['hidden_size']!],
      bytes: new Uint8Array(router.buffer),
    },
  ]);
  const layers = [...Array(config['num_hidden_layers']).keys()];
  const changed = {
    ...config,
    model_type: 'qwen3_moe',
    num_experts: experts,
    num_experts_per_tok: chosen,
    moe_intermediate_size: config['intermediate_size'],
    norm_topk_prob: normalised,
    mlp_only_layers: layers.filter((i) => i !== 1),
  };
  writeFileSync(join(folder, 'config.json'), JSON.stringify(changed));
  return folder;
}

describe('between dense layers', () => {
  it.each([
    [1, 1, true],
    [1, 1, false],
    [5, 2, true],
    [5, 5, false],
  ])('%s experts of which %s are chosen, shares that sum to one: %s', async (experts, chosen, normalised) => {
    const model = openModel(withMixture(experts, chosen, normalised));
    expect(model.spec.layers.map(({ mixture }) => mixture !== undefined)).toEqual(
      model.spec.layers.map((_, i) => i === 1),
    );
    const staged = await openStagedModel(model, noExits);
    expect(maxDifference(await finalLogits(staged, golden.ids), golden.logits.flat())).toBeLessThan(1e-4);
    await staged.dispose();
    model.close();
  });
});
