/** PyTorch tunes as the engine here does, on every mesh: losses of every step, held-out scores, and the exits' logits afterwards. */
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Mesh } from '../../protocol/options/place.ts';
import { tensorOps } from '../../backend/autodiff/ops.ts';
import { openCheckpoint, type Checkpoint } from '../../backend/checkpoint/checkpoint.ts';
import { readEvent, type FinishedEvent, type RankEvent } from '../../backend/cluster/reported.ts';
import { planOn, type PlannedRun } from '../../backend/cluster/plan.ts';
import { exitLogits } from '../support/logits.ts';
import { frozenParameters } from '../../backend/exits/parameters.ts';
import { exitCut } from '../../backend/exits/architectures.ts';
import { exitId, type ExitSpec } from '../../backend/exits/spec.ts';
import { openModel } from '../../backend/model/open.ts';
import { cutWidth } from '../../backend/model/spec.ts';
import { shippedModel } from '../support/golden.ts';
import { isWhole, metricsOf, pythonWithTorch, runInRanks, tinyModel, tuned, worstDifference } from './ranks.ts';

const python = pythonWithTorch();
const meshes = ['pp=1', 'pp=2', 'dp=2', 'tp=2', 'pp=2,dp=2', 'pp=2,dp=2,tp=2', 'dp=2,shard'];

/** What is tuned, such that together every architecture, head, beginning, objective, weighting and schedule is there. */
const runs: Record<string, Record<string, unknown>> = {
  'llama-untied': { exits: '1:lens,2:mlp,3:norm', shortlist: 60, initialise: 'fit', distillation: 1 },
  gemma2: { exits: '1:layer,2:mlp,3:embedding', head: 'own', initialise: 'random', crossEntropy: 1, distillation: 0 },
  gpt_neox: {
    exits: '1:mlp,2:lens,3:layer',
    shortlist: 90,
    initialise: 'copy',
    crossEntropy: 0.5,
    distillation: 0.5,
    weighting: 'dynamic',
    exitWeights: '0.1..1:cosine',
    schedule: 'linear',
    clip: 'joint',
    gradientClip: 0.5,
    decay: 'all',
  },
  olmo2: {
    exits: '2:mlp,3:lens',
    head: 'shared',
    initialise: 'copy',
    crossEntropy: 1,
    distillation: 0,
    exitWeights: '0.5,2',
  },
  // Its head has a bias.
  phi: { exits: '1:norm,2:lens,3:layer', shortlist: 60, initialise: 'fit', crossEntropy: 0.5, distillation: 0.5 },
  // The model that ships, in its own words.
  'typescript-5m': { exits: '4:mlp,8:lens,11:norm', shortlist: 1000, initialise: 'fit' },
};
const families = isWhole ? Object.keys(runs) : ['llama-untied'];
const chosen = isWhole ? meshes : ['pp=1', 'pp=2,dp=2'];
/** Phi's three key heads are shared by no two ranks. */
const chosenFor = (family: string): string[] => chosen.filter((mesh) => family !== 'phi' || !mesh.includes('tp'));

const common = {
  data: ['protocol/shapes.ts', 'protocol/spans.ts', 'protocol/plural.ts', 'protocol/nearest.ts', 'protocol/jobs.ts'],
  sequenceLength: 48,
  heldOutFraction: 0.2,
  // 5 and 33 windows, which replicas cannot share evenly.
  evaluationTokens: 240,
  fitTokens: 1584,
  steps: 6,
  evaluateEvery: 3,
  learningRate: 2e-3,
  batchSize: 2,
  accumulation: 2,
  backbonePrecision: 'exact',
  // It rounds states to 16 bits, which PyTorch does not; a run whose loss jumps makes a hundredfold of the difference.
  featureCache: false,
  device: 'cpu',
  exitDevice: 'cpu',
};

describe.skipIf(python === null)('tuning in PyTorch', () => {
  let root: string;
  const models = new Map<string, string>();
  const out = (family: string, mesh: string): string => path.join(root, `${family} ${mesh}.exits`);
  beforeAll(async () => {
    await tf.setBackend('cpu');
    root = fs.mkdtempSync(path.join(os.tmpdir(), 'meshes-'));
    process.env['EARLY_EXIT_CACHE'] = path.join(root, 'cache');
    const jobs: string[] = [];
    for (const family of families) {
      const model = family === 'typescript-5m' ? shippedModel : tinyModel(root, family);
      const options = { ...common, ...runs[family], model };
      models.set(family, model);
      await tuned({ ...options, out: out(family, 'here') });
      for (const mesh of chosenFor(family)) {
        jobs.push(out(family, mesh));
        await tuned({ ...options, out: out(family, mesh), on: 'slurm', mesh });
      }
    }
    await runInRanks(python!, jobs);
  }, 900_000);
  afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

  describe.each(families)('%s', (family) => {
    it.each(chosenFor(family))('on %s holds and gives away what a plan says', (mesh) => {
      const folder = path.join(out(family, mesh), 'distributed');
      const job = JSON.parse(fs.readFileSync(path.join(folder, 'job.json'), 'utf8')) as PlannedJob;
      const run: PlannedRun = {
        spec: job.spec,
        exits: job.exits,
        windows: common.batchSize * common.accumulation,
        tokens: common.sequenceLength,
        batch: common.batchSize,
        distils: job.options.distillation > 0,
        whole: false,
        bytes: 4,
        parameters: shapesOf(job),
      };
      const finished = fs
        .readFileSync(path.join(folder, 'events.jsonl'), 'utf8')
        .split('\n')
        .map(readEvent)
        .find(isFinished)!;
      const { memory, traffic } = planOn(run, { ...job.mesh, shard: job.shard });
      const { weights, ...counted } = traffic;
      expect(weights > 0).toBe(job.shard);
      // q, k and v that are gathered after their products, because a norm spans them (OLMo 2), come on top.
      expect(finished.traffic).toEqual(counted);
      for (const part of ['backbone', 'exits', 'heads'] as const) {
        expect(memory[part] / finished.memory[part], part).toBeGreaterThan(0.9);
        expect(memory[part] / finished.memory[part], part).toBeLessThan(1.1);
      }
    });

    it.each(chosenFor(family))('on %s', async (mesh) => {
      const events = await tuned({ out: out(family, mesh), resume: true, on: 'slurm' });
      expect(events.at(-1)).toMatchObject({ type: 'tuned', step: common.steps, stopped: false });
      const [here, there] = [metricsOf(out(family, 'here')), metricsOf(out(family, mesh))];
      expect(there.map(({ type, step }) => [type, step])).toEqual(here.map(({ type, step }) => [type, step]));
      for (const [i, line] of here.entries()) {
        if (line.type === 'evaluation') {
          expect(lossesOf(there[i]!).length).toBeGreaterThan(2);
          expect(worstDifference(lossesOf(line), lossesOf(there[i]!)).difference).toBeLessThan(1e-3);
        } else {
          const { gradientNorms, ...rest } = line;
          const { gradientNorms: norms, ...others } = there[i]!;
          // PyTorch does not tell how far exits are from the final one in a step.
          Reflect.deleteProperty(rest, 'gaps');
          const worst = worstDifference(rest, others);
          expect(worst.difference, worst.place).toBeLessThan(1e-3);
          expect(worstDifference(gradientNorms, norms).difference).toBeLessThan(1e-2);
        }
      }
      const [a, b] = [out(family, 'here'), out(family, mesh)].map((directory) => openCheckpoint(directory, null));
      expect(b!.exits).toEqual(a!.exits);
      expect(b!.progress.origins).toEqual(a!.progress.origins);
      expect([...b!.shapes].sort()).toEqual([...a!.shapes].sort());
      for (const exit of a!.exits) {
        const [one, other] = [a!, b!].map((checkpoint) => logitsOf(models.get(family)!, exit, checkpoint));
        expect(relativeError(one!, other!), exitId(exit)).toBeLessThan(1e-3);
      }
      a!.close();
      b!.close();
    });
  });
});

interface PlannedJob {
  readonly spec: PlannedRun['spec'];
  readonly exits: (PlannedRun['exits'][number] & {
    readonly parameters: readonly { readonly source: string | null; readonly shape: readonly number[] }[];
  })[];
  readonly options: { readonly distillation: number };
  readonly mesh: Omit<Mesh, 'shard'>;
  readonly shard: boolean;
}

/** Of the model's parameters that exits are copies of. */
function shapesOf(job: PlannedJob): NonNullable<PlannedRun['parameters']> {
  const shapes = new Map(job.exits.flatMap(({ parameters }) => parameters.map(({ source, shape }) => [source, shape])));
  return { has: (name) => shapes.has(name), shape: (name) => shapes.get(name)! };
}

const isFinished = (event: RankEvent | null): event is FinishedEvent => event?.type === 'finished';

/** An exit's logits on states that are the same for every checkpoint. */
function logitsOf(path: string, exit: ExitSpec, checkpoint: Checkpoint): Float32Array {
  const model = openModel(path);
  const { spec, parameters } = model;
  const names = frozenParameters(exit, parameters, false);
  const table = new Map([
    ...names.map((name) => [name, tf.tensor(parameters.values(name), [...parameters.shape(name)])] as const),
    ...[...checkpoint.shapes].map(([name, shape]) => [name, tf.tensor(checkpoint.values(name), [...shape])] as const),
  ]);
  model.close();
  const states = tf.randomNormal([1, 24, cutWidth(spec, exitCut(exit))], 0, 1, 'float32', 7);
  return exitLogits(tensorOps(table), spec, exit, states).dataSync() as Float32Array;
}

const lossesOf = (line: Readonly<Record<string, unknown>>): number[] =>
  (line['scores'] as { loss: number }[]).map(({ loss }) => loss);

function relativeError(a: Float32Array, b: Float32Array): number {
  let [difference, size] = [0, 0];
  a.forEach((value, i) => {
    difference += (value - b[i]!) ** 2;
    size += value ** 2;
  });
  return Math.sqrt(difference / Math.max(size, 1e-12));
}
