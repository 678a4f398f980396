/** What an exit says of known text is the same in both engines. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { exitPath, type ExitSpec } from '../../../backend/exits/spec.ts';
import type { Model } from '../../../backend/model/open.ts';
import { openExitScorer, type ExitSet } from '../../../backend/runtime/open.ts';
import { computes, engines } from '../../support/engines.ts';
import { fixtures, maxDifference } from '../../support/golden.ts';
import { copiedExits, tinyModel } from '../../support/models.ts';

const families = readdirSync(join(fixtures, 'tiny')).filter((family) => computes('onnx', family));
const head = { kind: 'shared' } as const;

async function expectSame(model: Model, exit: ExitSpec | null, parameters: ExitSet['parameters']): Promise<void> {
  const [batch, tokens] = [2, 6];
  const stream = Float32Array.from({ length: batch * tokens * model.spec.hidden }, (_, i) => 2 * Math.sin(1.3 * i));
  const targets = Int32Array.from({ length: batch * tokens }, (_, i) => i + 3);
  const said = [];
  for (const engine of engines) {
    const scorer = await openExitScorer(model, exit, parameters, { engine });
    said.push(await scorer.score(stream, targets, batch, tokens));
    await scorer.dispose();
  }
  const [onnx, ggml] = said;
  expect(maxDifference(ggml!.loss, onnx!.loss)).toBeLessThan(1e-4);
  expect(maxDifference(ggml!.confidence, onnx!.confidence)).toBeLessThan(1e-4);
  expect(ggml!.token).toEqual(onnx!.token);
}

describe.runIf(engines.includes('ggml'))('both engines say the same', () => {
  test.each(families)('of %s', async (family) => {
    const model = tinyModel(family);
    const lens: ExitSpec = { layer: 1, architecture: 'lens', head };
    await expectSame(model, null, new Map());
    await expectSame(model, lens, copiedExits(model, [lens]).parameters);
    model.close();
  });

  test('of a LayerNorm of each head, with its bias', async () => {
    const phi = tinyModel('phi');
    const model: Model = { ...phi, spec: { ...phi.spec, qkNorm: 'head' } };
    const exit: ExitSpec = { layer: 1, architecture: 'layer', head };
    const norms = ['q_norm', 'k_norm'].flatMap((norm) =>
      ['weight', 'bias'].map((kind, k) => {
        const data = Float32Array.from({ length: phi.spec.headDimensions }, (_, i) => 1 - k + Math.cos(1.7 * i));
        return [`${exitPath(exit)}.layer.self_attn.${norm}.${kind}`, { shape: [data.length], data }] as const;
      }),
    );
    await expectSame(model, exit, new Map([...copiedExits(phi, [exit]).parameters, ...norms]));
    phi.close();
  });
});
