import { expect, test } from 'vitest';
import { measureSpeeds } from '../../../backend/recipes/tune-plan.ts';
import type { FeatureSource } from '../../../backend/features/features.ts';
import type { ExitScorer } from '../../../backend/runtime/open.ts';
import { cutName, finalCut } from '../../../backend/model/spec.ts';
import { openModel } from '../../../backend/model/open.ts';

test('what opens a thing is not timed with what it costs from then on', async () => {
  const model = openModel('models/typescript-5m');
  const { spec } = model;
  model.close();
  let clock = 0;
  /** A second to begin with, and a tenth from then on. */
  const slowAtFirst = <T>(value: T): (() => Promise<T>) => {
    let seconds = 1;
    return () => {
      clock += seconds;
      seconds = 0.1;
      return Promise.resolve(value);
    };
  };
  const tokens = 512;
  const features = new Map([[cutName(finalCut(spec)), new Float32Array(tokens * spec.hidden)]]);
  const source = { windows: { count: 8, tokens }, batch: slowAtFirst({ features }) } as unknown as FeatureSource;
  const scorer = { score: slowAtFirst({}) } as unknown as ExitScorer;
  const { speeds } = await measureSpeeds(source, spec, slowAtFirst(scorer), 1, () => clock);
  expect(speeds.window).toBeCloseTo(0.1, 6);
  expect(speeds.scoring).toBeCloseTo(0.4, 6);
});
