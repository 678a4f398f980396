/** What an exit says of known text is the same in both engines. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { ExitSpec } from '../../../backend/exits/spec.ts';
import { openExitScorer } from '../../../backend/runtime/open.ts';
import { computes, engines } from '../../support/engines.ts';
import { fixtures, maxDifference } from '../../support/golden.ts';
import { copiedExits, tinyModel } from '../../support/models.ts';

const families = readdirSync(join(fixtures, 'tiny')).filter((family) => computes('onnx', family));
const lens: ExitSpec = { layer: 1, architecture: 'lens', head: { kind: 'shared' } };

test.runIf(engines.includes('ggml')).each(families)('%s', async (family) => {
  const model = tinyModel(family);
  const [batch, tokens] = [2, 6];
  const { hidden } = model.spec;
  const stream = Float32Array.from({ length: batch * tokens * hidden }, (_, i) => 2 * Math.sin(1.3 * i));
  const targets = Int32Array.from({ length: batch * tokens }, (_, i) => i + 3);
  const { parameters } = copiedExits(model, [lens]);
  for (const exit of [null, lens]) {
    const said = [];
    for (const engine of engines) {
      const scorer = await openExitScorer(model, exit, exit ? parameters : new Map(), { engine });
      said.push(await scorer.score(stream, targets, batch, tokens));
      await scorer.dispose();
    }
    const [onnx, ggml] = said;
    expect(maxDifference(ggml!.loss, onnx!.loss)).toBeLessThan(1e-4);
    expect(maxDifference(ggml!.confidence, onnx!.confidence)).toBeLessThan(1e-4);
    expect(ggml!.token).toEqual(onnx!.token);
  }
  model.close();
});
