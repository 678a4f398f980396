/** Training a whole model further in PyTorch: against plain code, on one rank and two, killed and gone on with; and the new model that comes of it. */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseOptions } from '../../protocol/options/options.ts';
import type { ExitScore, TuneEvent } from '../../protocol/events.ts';
import { readInfo } from '../../backend/checkpoint/checkpoint.ts';
import { readEvent, type FinishedEvent, type RankEvent } from '../../backend/cluster/reported.ts';
import { planOn } from '../../backend/cluster/plan.ts';
import { openModel } from '../../backend/model/open.ts';
import { plannedRun } from '../../backend/recipes/plan.ts';
import { recipes } from '../../backend/recipes/index.ts';
import { tuneElsewhere } from '../../backend/recipes/training/elsewhere.ts';
import { isWhole, metricsOf, pythonWithTorch, runInRanks, tinyModel, tuned, worstDifference } from './ranks.ts';

const python = pythonWithTorch();

const common = {
  data: ['protocol/shapes.ts', 'protocol/spans.ts', 'protocol/plural.ts', 'protocol/nearest.ts', 'protocol/jobs.ts'],
  sequenceLength: 48,
  heldOutFraction: 0.2,
  evaluationTokens: 192,
  batchSize: 2,
  accumulation: 2,
  backbonePrecision: 'exact',
  device: 'cpu',
  exitDevice: 'cpu',
};
const further = {
  ...common,
  steps: 6,
  evaluateEvery: 3,
  learningRate: 2e-3,
  backboneLearningRate: 1e-3,
  crossEntropy: 0.5,
  distillation: 0.5,
  exitWeights: '0.2..1',
};
const meshes = { one: 'dp=1', two: 'dp=2' };

describe.skipIf(python === null)('continued pretraining in PyTorch', () => {
  let root: string;
  let model: string;
  let exits: string;
  const out = (name: string): string => path.join(root, `${name}.exits`);
  const plain = new Map<string, unknown>();
  beforeAll(async () => {
    root = fs.mkdtempSync(path.join(os.tmpdir(), 'pretraining-'));
    process.env['EARLY_EXIT_CACHE'] = path.join(root, 'cache');
    process.env['EARLY_EXIT_PYTHON'] = python!;
    model = tinyModel(root, 'llama-tied');
    exits = out('tuned');
    await tuned({ ...common, model, exits: '1:lens,2:mlp', shortlist: 60, initialise: 'copy', steps: 4, out: exits });
    for (const [name, mesh] of Object.entries(meshes))
      await tuned({ ...further, model, continuePretraining: exits, out: out(name), on: 'slurm', mesh });
    const reference = path.resolve(import.meta.dirname, '../../distributed/tests/plain_pretraining.py');
    plain.set('steps', JSON.parse(execFileSync(python!, [reference, out('one')], { encoding: 'utf8' })));
    await runInRanks(python!, [out('one'), out('two')]);
  }, 300_000);
  afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

  it.each(Object.keys(meshes))('has the losses of a plain loop on rank %s', (name) => {
    const steps = metricsOf(out(name)).filter(({ type }) => type === 'step');
    const reportedLosses = steps.map(({ loss, losses }) => ({ loss, losses }));
    const worst = worstDifference(plain.get('steps'), reportedLosses);
    expect(worst.difference, worst.place).toBeLessThan(1e-4);
    // What is compared changes: a model that learned nothing would agree, too.
    expect(steps.at(-1)!['loss']).not.toBeCloseTo(Number(steps[0]!['loss']), 1);
  });

  it('is the same on one rank and on two', () => {
    const worst = worstDifference(metricsOf(out('one')), metricsOf(out('two')));
    expect(worst.difference, worst.place).toBeLessThan(1e-4);
  });

  it.each(Object.keys(meshes))('holds and gives away what a plan says, on rank %s', (name) => {
    const lines = fs.readFileSync(path.join(out(name), 'distributed/events.jsonl'), 'utf8').split('\n');
    const { memory, traffic } = lines.map(readEvent).find(isFinished)!;
    const given = parseOptions('tune', { ...further, model, continuePretraining: exits });
    const mesh = { pp: 1, dp: name === 'two' ? 2 : 1, tp: 1, shard: false };
    const planned = planOn(plannedRun(given), mesh);
    const { weights, ...counted } = planned.traffic;
    expect(weights).toBe(0);
    expect(traffic).toEqual(counted);
    expect(memory).toEqual({ ...memory, backbone: planned.memory.backbone, exits: planned.memory.exits });
    expect(memory.heads).toBe(planned.memory.heads);
  });

  it('has the losses of the engine here, which goes on with what PyTorch has begun', async () => {
    await tuned({ ...further, model, continuePretraining: exits, out: out('here') });
    sameMetrics('here', 'one');
    const given = { ...further, model, continuePretraining: exits, out: out('halves'), on: 'slurm' };
    await tuned({ ...given, steps: 3 });
    await runInRanks(python!, [out('halves')]);
    const moved = await tuned({ out: out('halves'), resume: true, steps: 3 });
    expect(moved.at(-1)).toMatchObject({ type: 'tuned', step: further.steps, model: path.join(root, 'halves') });
  });

  it('writes a new model, of which evaluating says what the run has said', async () => {
    const before = fs.readFileSync(path.join(model, 'model.safetensors'));
    const events = await tuned({ out: out('one'), resume: true, on: 'slurm' });
    const ended = events.at(-1) as Extract<TuneEvent, { type: 'tuned' }>;
    expect(ended).toMatchObject({ type: 'tuned', step: further.steps, stopped: false, model: path.join(root, 'one') });
    expect(readInfo(out('one')).base).toMatchObject({ name: 'one', layers: readInfo(exits).base.layers });
    expect(readInfo(out('one')).base.sha256).not.toBe(readInfo(exits).base.sha256);
    const scores = await evaluated(path.join(root, 'one'), out('one'));
    const losses = (of: readonly ExitScore[]): unknown => of.map(({ exit, loss }) => ({ exit, loss }));
    expect(worstDifference(losses(ended.after), losses(scores)).difference).toBeLessThan(1e-4);
    expect(finalLoss(ended.after)).toBeLessThan(finalLoss(ended.before));
    // Other programs open it, and the one that it was is as it was.
    expect(loadedLoss(path.join(root, 'one'))).toBeGreaterThan(0);
    expect(fs.readFileSync(path.join(model, 'model.safetensors'))).toEqual(before);
    await expect(evaluated(model, out('one'))).rejects.toThrow(/belong to one .*, not to llama-tied/);
  });

  it('computes in 16 bits where that is asked for, and so is the new model', async () => {
    const given = { ...further, backbonePrecision: 'fast', model, continuePretraining: exits, out: out('fast') };
    await tuned({ ...given, on: 'slurm' });
    await runInRanks(python!, [out('fast')]);
    const ended = (await tuned({ out: out('fast'), resume: true, on: 'slurm' })).at(-1);
    const { tensors } = openModel(path.join(root, 'fast')).stored.tensors;
    expect(new Set([...tensors.values()].map(({ type }) => type))).toEqual(new Set(['BF16']));
    const config = fs.readFileSync(path.join(root, 'fast/config.json'), 'utf8');
    expect(config).toContain('dtype": "bfloat16"');
    const scores = await evaluated(path.join(root, 'fast'), out('fast'));
    expect(ended?.type === 'tuned' && finalLoss(ended.after) / finalLoss(scores)).toBeCloseTo(1, 2);
  });

  it('goes on with what is there now', async () => {
    const more = { out: out('one'), resume: true, steps: 3, on: 'slurm', mesh: 'dp=2' };
    await tuned(more);
    await runInRanks(python!, [out('one')]);
    const events = await tuned(more);
    expect(events.at(-1)).toMatchObject({ step: further.steps + 3, model: path.join(root, 'one') });
    const [last] = metricsOf(out('one')).slice(-1);
    const scores = await evaluated(path.join(root, 'one'), out('one'));
    expect(last!['best']).toBe(true);
    expect(finalLoss(scores)).toBeCloseTo(finalLoss(last!['scores'] as ExitScore[]), 3);
  });

  it('refuses what divides the model, and what is in its way', async () => {
    const given = { ...further, model, continuePretraining: exits, on: 'slurm' };
    for (const mesh of ['pp=2', 'tp=2', 'dp=2,shard'])
      await expect(tuned({ ...given, mesh, out: out('refused') })).rejects.toThrow(/every rank trains the whole model/);
    expect(fs.existsSync(out('refused'))).toBe(false);
    fs.mkdirSync(path.join(root, 'refused'));
    await expect(tuned({ ...given, out: out('refused') })).rejects.toThrow(
      /refused, in which the new model would be written, exists already/,
    );
    await expect(tuned({ ...given, exits: '1:norm', out: out('x') })).rejects.toThrow(/the exits are those of/);
  });

  it.runIf(isWhole).each(['gemma2', 'gpt_neox', 'olmo2', 'phi', 'gpt2', 'phi3'])(
    'has the losses of the engine here, of %s',
    async (family) => {
      const of = tinyModel(root, family);
      const begin = out(`${family} tuned`);
      const heads = { exits: '1:mlp,2:lens,3:layer', shortlist: 60, initialise: 'copy', steps: 2 };
      await tuned({ ...common, ...heads, model: of, out: begin });
      const given = { ...further, weighting: 'dynamic', model: of, continuePretraining: begin };
      await tuned({ ...given, out: out(`${family} here`) });
      await tuned({ ...given, out: out(`${family} there`), on: 'slurm', mesh: 'dp=2' });
      await runInRanks(python!, [out(`${family} there`)]);
      sameMetrics(`${family} here`, `${family} there`);
    },
    300_000,
  );

  it.runIf(isWhole)(
    'is killed, stopped and gone on with to the same numbers',
    async () => {
      const given = { ...further, steps: 40, evaluateEvery: 20, model, continuePretraining: exits, on: 'torchrun' };
      await tuned({ ...given, out: out('whole') });
      const controller = new AbortController();
      const events: TuneEvent[] = [];
      for await (const event of tuneElsewhere(
        parseOptions('tune', { ...given, out: out('stopped') }),
        controller.signal,
      )) {
        events.push(event);
        if (event.type === 'step' && event.step >= 3) controller.abort();
      }
      expect(events.at(-1)).toMatchObject({ type: 'tuned', stopped: true });
      // What a stop leaves is a model as well.
      await evaluated(path.join(root, 'stopped'), out('stopped'));
      const killing = async (): Promise<void> => {
        const resumed = parseOptions('tune', { out: out('stopped'), resume: true, on: 'torchrun' });
        for await (const event of tuneElsewhere(resumed, new AbortController().signal))
          if (event.type === 'step' && event.step >= 20) process.kill(launcherOf(out('stopped')), 'SIGKILL');
      };
      await expect(killing()).rejects.toThrow();
      await tuned({ out: out('stopped'), resume: true, on: 'torchrun' });
      expect(metricsOf(out('stopped'))).toEqual(metricsOf(out('whole')));
      const bytes = (name: string): Buffer => fs.readFileSync(path.join(root, name, 'model.safetensors'));
      expect(bytes('stopped').equals(bytes('whole'))).toBe(true);
    },
    900_000,
  );

  /** Every number of two runs within 10⁻³, and norms of gradients within 10⁻². */
  function sameMetrics(a: string, b: string): void {
    const [one, other] = [metricsOf(out(a)), metricsOf(out(b))];
    expect(one.map(({ type, step }) => [type, step])).toEqual(other.map(({ type, step }) => [type, step]));
    for (const [i, { gradientNorms, scores, ...rest }] of one.entries()) {
      const { gradientNorms: norms, scores: judged, ...others } = other[i]!;
      // PyTorch does not tell how far exits are from the final one in a step.
      for (const line of [rest, others]) Reflect.deleteProperty(line, 'gaps');
      const worst = worstDifference({ ...rest, scores: lossesOf(scores) }, { ...others, scores: lossesOf(judged) });
      expect(worst.difference, `${i}${worst.place}`).toBeLessThan(1e-3);
      expect(worstDifference(gradientNorms, norms).difference).toBeLessThan(1e-2);
    }
  }

  async function evaluated(of: string, directory: string): Promise<ExitScore[]> {
    const { data, sequenceLength, heldOutFraction, evaluationTokens } = common;
    const given = { model: of, exits: directory, data, sequenceLength, heldOutFraction, evaluationTokens };
    const options = parseOptions('evaluate', { ...given, precision: 'exact', device: 'cpu' });
    for await (const event of recipes.evaluate(options, new AbortController().signal))
      if (event.type === 'evaluated') return event.scores;
    throw new Error('nothing was evaluated');
  }

  /** What Hugging Face's own code says of a few tokens. */
  function loadedLoss(of: string): number {
    const script = `
import torch, sys
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
ids = torch.arange(2, 34)[None]
print(model(ids, labels=ids).loss.item())`;
    return Number(execFileSync(python!, ['-c', script, of], { encoding: 'utf8' }));
  }
});

const lossesOf = (scores: unknown): unknown => (scores as ExitScore[] | undefined)?.map(({ loss }) => loss) ?? null;

const isFinished = (event: RankEvent | null): event is FinishedEvent => event?.type === 'finished';

const finalLoss = (scores: readonly ExitScore[]): number => scores.find(({ exit }) => exit === 'final')!.loss;

/** The process that started a job's ranks here. */
const launcherOf = (directory: string): number =>
  (
    JSON.parse(fs.readFileSync(path.join(directory, 'distributed/running.json'), 'utf8')) as {
      processes: [{ pid: number }];
    }
  ).processes[0].pid;
