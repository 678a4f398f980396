/** Training a whole tiny model further here, to a new model with its exits that other commands open. */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { describeError } from '../../../../protocol/errors.ts';
import type { ExitScore, TuneEvent } from '../../../../protocol/events.ts';
import { parseOptions, type TuneOptions } from '../../../../protocol/options/options.ts';
import { readInfo, stateFolder } from '../../../../backend/checkpoint/checkpoint.ts';
import { openBest } from '../../../../backend/checkpoint/continued.ts';
import { readPosition } from '../../../../backend/checkpoint/state.ts';
import { openModel } from '../../../../backend/model/open.ts';
import type { ModelSpec } from '../../../../backend/model/spec.ts';
import type { CheckpointWriter } from '../../../../backend/checkpoint/writer.ts';
import { openWhole, storedValues, wholeKeeping } from '../../../../backend/recipes/training/whole-model.ts';
import { requireMemory } from '../../../../backend/recipes/training/pretrain.ts';
import { wholeBytes } from '../../../../backend/tuning/whole/graph.ts';
import { recipes } from '../../../../backend/recipes/index.ts';
import { shippedModel } from '../../../support/golden.ts';
import { metricsOf, tinyModel, tuned } from '../../../distributed/ranks.ts';

/** Text that does not change with the project's own: losses are compared to the fifth digit. */
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'pretrain-text-'));
const names = ['width', 'height', 'colour', 'label', 'weight', 'offset', 'length', 'parent'];
const typesOf = ['number', 'string', 'boolean', 'readonly string[]', 'Map<string, number>'];
const data = Array.from({ length: 5 }, (_, file) => {
  const lines = Array.from({ length: 40 }, (_, i) => {
    const name = names[(3 * i + file) % names.length]!;
    const type = typesOf[(i * i + file) % typesOf.length]!;
    return `/** The ${name} of item ${i}. */\nexport const ${name}${i}: ${type} = ${name}Of(items[${(7 * i) % 11}]);\n`;
  });
  const place = path.join(folder, `${file}.ts`);
  fs.writeFileSync(place, lines.join(''));
  return place;
});

const common = {
  data,
  sequenceLength: 48,
  heldOutFraction: 0.2,
  evaluationTokens: 192,
  device: 'cpu',
  exitDevice: 'cpu',
};
const further = { ...common, steps: 6, evaluateEvery: 3, learningRate: 2e-3, backboneLearningRate: 1e-3 };
let root: string;
let model: string;
let exits: string;
let ended: Extract<TuneEvent, { type: 'tuned' }>;
const out = (name: string): string => path.join(root, `${name}.exits`);
type Tuned = Extract<TuneEvent, { type: 'tuned' }>;

beforeAll(async () => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), 'pretrain-'));
  process.env['EARLY_EXIT_CACHE'] = path.join(root, 'cache');
  model = tinyModel(root, 'llama-tied');
  exits = out('tuned');
  await tuned({ ...common, model, exits: '1:lens,2:mlp', shortlist: 60, initialise: 'copy', steps: 4, out: exits });
  // The model is that of the exits, where none is named.
  ended = (await tuned({ ...further, continuePretraining: exits, out: out('new') })).at(-1) as Tuned;
}, 120_000);
afterAll(() => {
  for (const each of [root, folder]) fs.rmSync(each, { recursive: true, force: true });
});

async function evaluated(of: string, directory: string): Promise<ExitScore[]> {
  const { data, sequenceLength, heldOutFraction, evaluationTokens } = common;
  const given = { model: of, exits: directory, data, sequenceLength, heldOutFraction, evaluationTokens };
  const options = parseOptions('evaluate', { ...given, precision: 'exact', device: 'cpu' });
  for await (const event of recipes.evaluate(options, new AbortController().signal))
    if (event.type === 'evaluated') return event.scores;
  throw new Error('nothing was evaluated');
}
/** A run with values that no option takes, evaluated after every update. */
async function diverging(name: string, values: Partial<TuneOptions>): Promise<void> {
  const given = { ...further, continuePretraining: exits, out: out(name), warmupFraction: 0, evaluateEvery: 1 };
  const options = { ...parseOptions('tune', given), ...values };
  for await (const event of recipes.tune(options, new AbortController().signal)) expect(event.type).not.toBe('tuned');
}
function bestOf(directory: string): readonly ExitScore[] {
  const { progress, source } = openBest(directory);
  source.close();
  return progress.scores;
}
const lossOf = (scores: readonly ExitScore[], id: string): number => scores.find(({ exit }) => exit === id)!.loss;

describe('training a whole model further', () => {
  it('writes a new model, of which evaluating says what the run has said', async () => {
    expect(ended).toMatchObject({ step: 6, stopped: false, whole: true, model: path.join(root, 'new') });
    const scores = await evaluated(ended.model, out('new'));
    for (const { exit, loss } of ended.after) expect(lossOf(scores, exit), exit).toBeCloseTo(loss, 4);
    for (const exit of ['1:lens', '2:mlp', 'final'])
      expect(lossOf(ended.after, exit)).toBeLessThan(lossOf(ended.before, exit));
    expect(fs.readdirSync(ended.model).sort()).toEqual([
      'README.md',
      'config.json',
      'model.safetensors',
      'tokenizer.json',
      'tokenizer_config.json',
    ]);
    expect(fs.readdirSync(root).filter((name) => name.includes('.tmp'))).toEqual([]);
  });

  it.each([{ device: 'vulkan' }, { exitDevice: 'webgpu' }])(
    'does not take %o, which would have no effect',
    async (card) => {
      const given = { ...further, ...card, continuePretraining: exits, out: out('on a card') };
      await expect(tuned(given)).rejects.toThrow(/A whole model is trained on the CPU here, but \w+ was requested/);
      expect(fs.existsSync(out('on a card'))).toBe(false);
    },
  );

  it('leaves the model that it began with, and its exits, as they were', async () => {
    const began = openModel(model);
    const now = openModel(ended.model);
    const [a, b] = [began, now].map(({ parameters }) => parameters.values('layers.0.mlp.up_proj.weight'));
    expect(a).not.toEqual(b);
    began.close();
    now.close();
    await expect(evaluated(model, exits)).resolves.toBeDefined();
    await expect(evaluated(model, out('new'))).rejects.toThrow(/belong to new .*, not to llama-tied/);
  });

  it('reports losses of all exits and of the final one, and what is best of all together', () => {
    const lines = metricsOf(out('new'));
    const steps = lines.filter(({ type }) => type === 'step');
    expect(steps.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5, 6]);
    for (const key of ['losses', 'gradientNorms'])
      expect(Object.keys(steps[0]![key] as object)).toEqual(['1:lens', '2:mlp', 'final']);
    const means = lines
      .filter(({ type }) => type === 'evaluation')
      .map(({ scores }) => (scores as ExitScore[]).reduce((sum, { loss }) => sum + loss, 0) / 3);
    expect(means).toHaveLength(3);
    const least = Math.min(...means);
    expect(ended.after.reduce((sum, { loss }) => sum + loss, 0) / 3).toBeCloseTo(least, 9);
  });

  it('keeps what it began with where nothing became better', async () => {
    const wild = { ...further, steps: 2, learningRate: 1, backboneLearningRate: 1, warmupFraction: 0 };
    const events = await tuned({ ...wild, continuePretraining: exits, out: out('wild') });
    const { before, after } = events.at(-1) as Tuned;
    expect(after).toEqual(before);
    const [a, b] = [openModel(model), openModel(path.join(root, 'wild'))];
    expect(b.parameters.values('embed_tokens.weight')).toEqual(a.parameters.values('embed_tokens.weight'));
    a.close();
    b.close();
  });

  it('keeps the values that it began with if it diverges at once, and names the learning rate', async () => {
    const exitWeights = { kind: 'static', weights: [1e300] } as const;
    for (const [values, reason] of [
      [{ exitWeights }, 'a loss or gradient of update 1 is no number'],
      [{ backboneLearningRate: Infinity }, 'a state of the model is not finite'],
    ] as const) {
      const name = Object.keys(values).join();
      const failure: unknown = await diverging(name, values).catch((error: unknown) => error);
      expect(describeError(failure)).toBe(
        `The training diverges: ${reason}. Begin another run with a smaller --backbone-learning-rate or --learning-rate.`,
      );
      expect(fs.existsSync(path.join(root, name))).toBe(false);
      expect(readPosition(out(name)).step).toBe(0);
      expect(bestOf(out(name))).toEqual(ended.before);
    }
  });

  it('takes a loss that is no number for no better one', () => {
    const opened = openModel(model);
    const directory = out('kept');
    const keeping = wholeKeeping(openWhole(opened, []), [], { step: 0, tokens: 0, scores: ended.before });
    const keep = (step: number, loss: number): void => {
      const scores = ended.before.map((score) => ({ ...score, loss }));
      fs.mkdirSync(path.join(directory, stateFolder), { recursive: true });
      const parameters = storedValues(openWhole(opened, []));
      keeping.keep({ directory } as CheckpointWriter, parameters, { step, tokens: step, scores }, ended.before);
    };
    keep(1, NaN);
    expect(fs.readdirSync(path.join(directory, stateFolder))).toEqual([]);
    keep(2, 0.5);
    keep(3, NaN);
    expect(bestOf(directory).map(({ loss }) => loss)).toEqual([0.5, 0.5, 0.5]);
    opened.close();
  });

  it('publishes what it learned before it diverged', async () => {
    const exitWeights = { kind: 'ramp', from: [1], to: [1e300], shape: 'linear' } as const;
    const folder = path.join(root, 'burst');
    await expect(diverging('burst', { exitWeights })).rejects.toThrow(
      `a loss or gradient of update 2 is no number. ${folder} has the best values, of update 1.`,
    );
    const scores = await evaluated(folder, out('burst'));
    expect(lossOf(scores, 'final')).toBeLessThan(lossOf(ended.before, 'final'));
  });

  it('says first that no calibration follows, to who asked for a promise', async () => {
    const given = { ...further, continuePretraining: exits, out: out('promised'), promise: 'agreement=0.9' };
    const events = recipes.tune(parseOptions('tune', given), new AbortController().signal);
    const { value } = await events.next();
    expect(value).toMatchObject({
      type: 'warning',
      message: expect.stringMatching(/^This run does not calibrate/) as string,
    });
    await events.return();
  });

  it('is stopped with a model to show, and goes on to the numbers of a run that was not', async () => {
    const controller = new AbortController();
    const options = parseOptions('tune', { ...further, continuePretraining: exits, out: out('stopped') });
    let last: TuneEvent | null = null;
    for await (const event of recipes.tune(options, controller.signal)) {
      if (event.type === 'step' && event.step === 2) controller.abort();
      last = event;
    }
    expect(last).toMatchObject({ type: 'tuned', stopped: true, step: 2 });
    await expect(evaluated(path.join(root, 'stopped'), out('stopped'))).resolves.toBeDefined();
    await tuned({ out: out('stopped'), resume: true });
    expect(metricsOf(out('stopped'))).toEqual(metricsOf(out('new')));
    const weights = (name: string): Buffer => fs.readFileSync(path.join(root, name, 'model.safetensors'));
    expect(weights('stopped').equals(weights('new'))).toBe(true);
  });

  it('leaves nothing behind if it is stopped before it has learned anything', async () => {
    const controller = new AbortController();
    const options = parseOptions('tune', { ...further, continuePretraining: exits, out: out('early') });
    const running = (async (): Promise<void> => {
      for await (const event of recipes.tune(options, controller.signal))
        if (event.type === 'phase' && event.phase === 'evaluate') controller.abort();
    })();
    await expect(running).rejects.toThrow(/abort/i);
    for (const folder of [out('early'), path.join(root, 'early')]) expect(fs.existsSync(folder)).toBe(false);
  });

  it('mends a pair that was torn while it was written', async () => {
    const directory = out('stopped');
    const files = ['exits.json', 'exits.safetensors'].map((name) => path.join(directory, name));
    const earlier = files.map((file) => fs.readFileSync(file));
    await tuned({ out: directory, resume: true, steps: 3 });
    // As if the model had been written and its exits had not.
    files.forEach((file, i) => fs.writeFileSync(file, earlier[i]!));
    await expect(evaluated(path.join(root, 'stopped'), directory)).rejects.toThrow(/belong to stopped/);
    await tuned({ out: directory, resume: true, steps: 1 });
    await expect(evaluated(path.join(root, 'stopped'), directory)).resolves.toBeDefined();
    expect(readInfo(directory).base.name).toBe('stopped');
  });

  it('says what memory it would take, before it takes any', () => {
    expect(() => requireMemory('big', 30e9, 23e9)).toThrow(
      'Training all of big takes 30.0 GB of memory here, and this machine has 23.0 GB.',
    );
    expect(() => requireMemory('small', 3e9, 23e9)).not.toThrow();
    // Llama 2 7B: numbers alone take 134 GB.
    const spec = {
      layers: Array.from({ length: 32 }),
      hidden: 4096,
      feedForward: 11008,
      heads: 32,
    } as unknown as ModelSpec;
    expect(wholeBytes(spec, 6.7e9, 2, 512)).toBeGreaterThan(134e9);
  });

  it('refuses what it cannot write or has not', async () => {
    const given = { ...further, continuePretraining: exits, out: out('refused') };
    await expect(tuned({ ...given, model: shippedModel })).rejects.toThrow(/belong to llama-tied/);
    await expect(tuned({ ...given, exitWeights: '1,2,3' })).rejects.toThrow(/--exit-weights has 3 weights for 2 exits/);
    await expect(tuned({ ...given, exits: '1:norm' })).rejects.toThrow(/the exits are those of .*tuned\.exits/);
    await expect(tuned({ ...given, continuePretraining: path.join(root, 'none') })).rejects.toThrow(/holds no exits/);
    fs.mkdirSync(path.join(root, 'refused'));
    await expect(tuned(given)).rejects.toThrow(/refused, in which the new model would be written, exists already/);
    expect(fs.existsSync(out('refused'))).toBe(false);
  });
});
