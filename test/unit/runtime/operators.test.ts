/** The operators chosen for GPUs compute what the CPU's do. ONNX Runtime's CPU has them all, so it can say so anywhere. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { providers } from '../../../backend/onnx/operators.ts';
import { openModel } from '../../../backend/model/open.ts';
import { finalCut, inputCut } from '../../../backend/model/spec.ts';
import { attentionMask, newPlaces } from '../../../backend/runtime/positions.ts';
import { ropesOf, rotationTable } from '../../../backend/runtime/rotations.ts';
import { openSession, type Value } from '../../../backend/onnx/session.ts';
import { readoutGraph, scoringGraph, stageGraph } from '../../../backend/runtime/stage-graphs.ts';
import { isMixture } from '../../support/engines.ts';
import { fixtures, maxDifference, readGolden } from '../../support/golden.ts';

const families = readdirSync(join(fixtures, 'tiny')).filter((name) => !isMixture(name));

test.each(families.flatMap((family) => providers.map((provider) => [family, provider] as const)))(
  '%s in the operators of %s',
  async (family, provider) => {
    const golden = readGolden<{ ids: number[]; logits: number[][] }>('tiny', family, 'golden.json');
    const { spec, parameters } = openModel(join(fixtures, 'tiny', family));
    const target = { arithmetic: 'float32', provider } as const;
    const tokens = golden.ids.length;
    const pass = { batch: 1, tokens, counts: [tokens], starts: [0], lengths: [tokens] };

    const { graph, slots } = stageGraph(spec, parameters, inputCut, finalCut(spec), target);
    const session = await openSession(graph);
    const feeds: Record<string, Value> = { stream: { data: embeddings(), shape: [1, tokens, spec.hidden] } };
    const width = spec.kvHeads * spec.headDimensions;
    const room = { data: new Float32Array(tokens * width), shape: [1, tokens, width] };
    for (const slot of slots) Object.assign(feeds, { [`key.${slot}`]: room, [`value.${slot}`]: room });
    feeds['places'] = newPlaces(pass);
    for (const rope of ropesOf(spec)) {
      const shape = [1, tokens, rope.dimensions / 2];
      const { cos, sin } = rotationTable(rope).angles(pass);
      Object.assign(feeds, { [`cos.${rope.name}`]: { data: cos, shape }, [`sin.${rope.name}`]: { data: sin, shape } });
    }
    for (const name of session.inputs.filter((each) => each.startsWith('mask'))) {
      feeds[name] = attentionMask(pass, tokens, name === 'mask' ? null : Number(name.slice(5)));
    }
    const { hidden } = await session.run(feeds);

    const readout = await openSession(readoutGraph(spec, parameters, null, target));
    const { logits } = await readout.run({ stream: hidden! });
    expect(maxDifference(logits!.data as Float32Array, golden.logits.flat())).toBeLessThan(1e-4);

    const scoring = await openSession(scoringGraph(spec, parameters, null, target));
    const targets = { data: BigInt64Array.from(golden.ids, BigInt), shape: [1, tokens, 1] };
    const { loss } = await scoring.run({ stream: hidden!, targets });
    const expected = golden.logits.map((row, i) => {
      const most = Math.max(...row);
      return most + Math.log(row.reduce((sum, z) => sum + Math.exp(z - most), 0)) - row[golden.ids[i]!]!;
    });
    expect(maxDifference(loss!.data as Float32Array, expected)).toBeLessThan(1e-4);
    for (const each of [session, readout, scoring]) await each.dispose();

    function embeddings(): Float32Array {
      const rows = parameters.rows('embed_tokens.weight', golden.ids).map((x) => x * Math.fround(spec.embeddingScale));
      if (!spec.learnedPositions) return rows;
      const learned = parameters.rows('embed_positions.weight', [...golden.ids.keys()]);
      return rows.map((x, i) => x + learned[i]!);
    }
  },
);
