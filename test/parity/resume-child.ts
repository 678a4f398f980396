/** A tuning run over fakes that a test kills at random moments: starts or resumes it, and prints `done` at its end. */
import type { TrainingPosition } from '../../backend/checkpoint/state.ts';
import { createCheckpoint, resumeCheckpoint } from '../../backend/checkpoint/writer.ts';
import { baseModel, isCheckpoint, openCheckpoint } from '../../backend/checkpoint/checkpoint.ts';
import { openFeatureCache } from '../../backend/features/cache.ts';
import { featureSource } from '../../backend/features/features.ts';
import { train, type TrainerSettings } from '../../backend/tuning/trainer.ts';
import {
  fakeEvaluate,
  fakeExits,
  fakeModel,
  fakeParameter,
  fakeStep,
  fakeWindows,
  tinySpec,
} from '../unit/tuning/fakes.ts';

const [directory, cacheRoot, pause] = process.argv.slice(2) as [string, string, string];
const windows = fakeWindows(10, 4);
const shapes = new Map([[fakeParameter, [4]]]);
const cache = openFeatureCache({
  root: cacheRoot,
  key: { backbone: 'b', data: windows.hash, tokens: 4 },
});
const source = featureSource({ model: fakeModel([{ layer: 2, at: 'end' }]), windows, cache });
const step = fakeStep();
const info = { base: baseModel('tiny', tinySpec, 'd'.repeat(64)), exits: fakeExits, tuning: {}, calibration: null };
const begin: TrainingPosition = {
  step: 0,
  windows: 0,
  tokens: 0,
  seconds: 0,
  best: null,
  before: [],
  data: windows.hash,
  finished: false,
};
const settings: TrainerSettings = {
  limits: { steps: 60, epochs: null, seconds: null },
  batch: 2,
  accumulation: 2,
  seed: 11,
  settings: (update, updates) => ({
    learningRate: 0.05 * (1 - update / updates),
    exitWeights: new Map([['2:norm', 1]]),
  }),
  evaluateEvery: 7,
};
const slowly = {
  ...step,
  update: async (...batch: Parameters<typeof step.update>) => {
    await new Promise((resolve) => void setTimeout(resolve, Number(pause)));
    return step.update(...batch);
  },
};

let position = begin;
let checkpoint;
if (isCheckpoint(directory)) {
  const opened = openCheckpoint(directory, info.base);
  const resumed = resumeCheckpoint(directory, info, shapes, opened.progress);
  opened.close();
  await step.restore(resumed.state);
  ({ position } = resumed);
  checkpoint = resumed.writer;
} else {
  const progress = { step: 0, tokens: 0, scores: [] };
  checkpoint = createCheckpoint(directory, {
    info,
    shapes,
    state: await step.state(),
    progress,
    position,
    metrics: [],
  });
}
process.stdout.write('ready\n');
const run = train(
  { step: slowly, source, checkpoint, evaluate: fakeEvaluate(0.2) },
  settings,
  position,
  new AbortController().signal,
);
while (!(await run.next()).done);
checkpoint.close();
process.stdout.write('done\n');
