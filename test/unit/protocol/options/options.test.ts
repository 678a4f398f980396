import { describe, expect, it } from 'vitest';
import { exitArchitectures } from '../../../../backend/exits/spec.ts';
import { UserError } from '../../../../protocol/errors.ts';
import { nearest } from '../../../../protocol/nearest.ts';
import {
  architectures,
  parseThresholds,
  parseWeights,
  placeExits,
  thresholdOf,
} from '../../../../protocol/options/notations.ts';
import { parsePromise } from '../../../../protocol/options/promise.ts';
import {
  lengthOf,
  optionTables,
  parseOptions,
  settingName,
  settingOrigin,
  type RunLength,
} from '../../../../protocol/options/options.ts';

const refusal = (act: () => unknown): UserError => {
  try {
    act();
  } catch (error) {
    if (error instanceof UserError) return error;
    throw error;
  }
  throw new Error('nothing was refused');
};

describe('parseOptions', () => {
  it('fills in the defaults of the design', () => {
    expect(parseOptions('tune', {})).toMatchObject({
      model: 'typescript-5m',
      exits: { kind: 'auto', architecture: 'lens' },
      learningRate: null,
      finalLearningRate: 5e-5,
      schedule: 'cosine',
      warmupFraction: 0.05,
      beta1: 0.9,
      beta2: 0.95,
      epsilon: 1e-5,
      weightDecay: 0.01,
      decay: 'matrices',
      gradientClip: 1,
      clip: 'each',
      crossEntropy: 0,
      distillation: 1,
      exitWeights: { kind: 'static', weights: [1] },
      initialise: 'fit',
      head: 'shortlist',
      shortlist: 8192,
      minutes: null,
      steps: null,
    });
  });

  it('lets a preset fill in what was not given, and no more', () => {
    expect(parseOptions('tune', { preset: 'quick' })).toMatchObject({ minutes: null, fitTokens: 20_000 });
    expect(parseOptions('tune', { preset: 'quick', minutes: 3, fitTokens: undefined })).toMatchObject({
      minutes: 3,
      fitTokens: 20_000,
    });
    // A run that goes on has its own.
    expect(parseOptions('tune', { preset: 'quick', resume: true })).toMatchObject({ minutes: null, resume: true });
    expect(parseOptions('tune', { preset: 'thorough', steps: 20 })).toMatchObject({ minutes: null, steps: 20 });
  });

  it('ends a run after its own minutes, its steps, or at least the minutes of its preset', () => {
    const length = (given: Record<string, unknown>): RunLength => lengthOf(parseOptions('tune', given));
    expect(length({})).toEqual({ minutes: 10, isLeast: true });
    expect(length({ preset: 'quick' })).toEqual({ minutes: 1, isLeast: true });
    expect(length({ preset: 'quick', minutes: 1 })).toEqual({ minutes: 1, isLeast: false });
    expect(length({ steps: 20 })).toEqual({ minutes: null, isLeast: false });
    expect(length({ epochs: 1, minutes: 5 })).toEqual({ minutes: 5, isLeast: false });
  });

  it('takes one text where it takes a list of them', () => {
    expect(parseOptions('generate', { prompt: 'const x', stop: ';' })).toMatchObject({
      prompt: ['const x'],
      stop: [';'],
    });
  });

  it.each([
    ['tune', { learningRate: 'fast' }, '--learning-rate must be a number from 0 to 1, not "fast".'],
    ['tune', { epsilon: 0 }, '--epsilon must be a number above 0 and at most 1, not 0.'],
    ['tune', { batchSize: 1.5 }, '--batch-size must be a whole number from 1 to 1024, not 1.5.'],
    ['tune', { steps: 0 }, '--steps must be a whole number of at least 1, not 0.'],
    ['tune', { head: 'big' }, '--head must be one of shortlist, own, shared, not "big".'],
    ['tune', { data: [1, 2] }, '--data must be a list of texts, not a list of 2.'],
    ['tune', { data: [1] }, '--data must be a list of texts, not 1.'],
    ['tune', { resume: 'yes' }, '--resume must be true or false, not "yes".'],
    ['tune', { batchSize: null }, '--batch-size must be a whole number from 1 to 1024, not null.'],
    [
      'tune',
      { exits: '8:mpl' },
      '--exits must be exits such as 8:mlp,16:lens, layers such as 8,16, or auto (auto:mlp), not "8:mpl".',
    ],
    ['tune', { exits: '8:mlp,8', exitWeights: '1,2,3' }, '--exit-weights has 3 weights for 2 exits.'],
    ['tune', { distillation: 0 }, '--cross-entropy and --distillation are both 0: there is nothing to learn.'],
    ['generate', { threshold: 1.5 }, '--threshold must be from 0 to 1 under the policy confidence, not 1.5.'],
    ['generate', { system: 'Be brief.' }, '--system needs --chat.'],
  ] as const)('refuses %s %j', (command, given, message) => {
    const error = refusal(() => parseOptions(command, given));
    expect(error.message).toBe(message);
    expect(error.code).toBe('bad-argument');
  });

  it('guesses what a value was meant to be', () => {
    const wayOut = (given: Record<string, unknown>) => refusal(() => parseOptions('tune', given)).wayOut;
    expect(wayOut({ exits: '4:lense' })).toBe('Did you mean 4:lens?');
    expect(wayOut({ exits: '4, 8:mpl' })).toBe('Did you mean 4,8:mlp?');
    expect(wayOut({ preset: 'quik' })).toBe('Did you mean quick?');
    expect(wayOut({ exits: 'somewhere' })).toBeNull();
  });

  it('refuses unknown names with the nearest one', () => {
    const error = refusal(() => parseOptions('tune', { learnignRate: 1 }));
    expect(error.message).toBe('--learnign-rate is no option of tune.');
    expect(error.wayOut).toBe('Did you mean --learning-rate?');
    expect(refusal(() => parseOptions('tune', { constructor: 1 })).message).toBe('--constructor is no option of tune.');
  });
});

describe('notations', () => {
  it('reads exits', () => {
    const exits = (text: string) => parseOptions('tune', { exits: text }).exits;
    expect(exits('16:mlp, 8, 8:layer')).toEqual({
      kind: 'placed',
      exits: [
        { layer: 8, architecture: 'lens' },
        { layer: 8, architecture: 'layer' },
        { layer: 16, architecture: 'mlp' },
      ],
    });
    for (const wrong of ['', '0', '8:', '8:toString', '8,8:lens', 'auto,8', '8;9', '-1']) {
      expect(() => exits(wrong), wrong).toThrow(UserError);
    }
  });

  it('places exits by depth and refuses those beyond it', () => {
    const layers = (depth: number) =>
      placeExits({ kind: 'auto', architecture: 'lens' }, depth).map((exit) => exit.layer);
    expect(layers(12)).toEqual([4, 8, 11]);
    expect(layers(30)).toEqual([10, 20, 28]);
    expect(layers(1)).toEqual([1]);
    const beyond = { kind: 'placed', exits: [{ layer: 13, architecture: 'mlp' }] } as const;
    expect(refusal(() => placeExits(beyond, 12)).message).toBe(
      'The exit 13:mlp lies beyond the last layer: the model has 12 layers.',
    );
  });

  it('reads weights', () => {
    const weights = (text: string) => parseOptions('tune', { exitWeights: text }).exitWeights;
    expect(weights('.5, 1,2e-1')).toEqual({ kind: 'static', weights: [0.5, 1, 0.2] });
    expect(weights('0.1..1')).toEqual({ kind: 'ramp', from: [0.1], to: [1], shape: 'linear' });
    expect(weights('0.1,0.2,0.3..1:cosine')).toEqual({ kind: 'ramp', from: [0.1, 0.2, 0.3], to: [1], shape: 'cosine' });
    for (const wrong of ['', '-1', '1..', '1..2:square', '1,,2', 'NaN']) {
      expect(() => weights(wrong), wrong).toThrow(UserError);
    }
  });

  it('reads thresholds, by exit before by layer before all', () => {
    const thresholds = (value: unknown) => parseOptions('generate', { threshold: value }).threshold;
    const read = thresholds('0.8,16=0.9,16:mlp=0.7');
    expect(['8:mlp', '16:lens', '16:mlp'].map((exit) => thresholdOf(read, exit, 0.6))).toEqual([0.8, 0.9, 0.7]);
    expect(thresholds(0.25)).toEqual({ calibrated: false, all: 0.25, exits: {} });
    expect(thresholds('auto')).toEqual({ calibrated: true, all: null, exits: {} });
    expect(thresholds('16=0.5')).toEqual({ calibrated: false, all: null, exits: { 16: 0.5 } });
    expect(['8:mlp', '16:lens'].map((exit) => thresholdOf(thresholds('16=0.5'), exit, 0.6))).toEqual([0.6, 0.5]);
    for (const wrong of ['', 'x=1', '1,2', '8=1,8=1', '8=1=2']) {
      expect(() => thresholds(wrong), wrong).toThrow(UserError);
    }
  });

  it('takes no longer for a long text that is no number, and refuses any that is far too long', () => {
    const before = performance.now();
    const digits = '1'.repeat(200_000);
    for (const parse of [parseThresholds, parseWeights, (text: string) => parsePromise(`regret=${text}`)])
      for (const wrong of [`${digits}x`, `${digits}.`, `${digits}.${digits}e`]) expect(parse(wrong)).toBeNull();
    expect(performance.now() - before).toBeLessThan(1_000);
    const many = Array.from({ length: 200_000 }, (_, i) => `${i + 1}=0.5`).join(',');
    expect(refusal(() => parseOptions('generate', { threshold: many })).message).toMatch(
      /^--threshold must be auto, .*, not "1=0/,
    );
  });

  it('knows the architectures that exits have', () => {
    expect(Object.keys(architectures).sort()).toEqual([...exitArchitectures].sort());
  });
});

describe('settings', () => {
  it('are named by their full names in errors', () => {
    expect(parseOptions('tune', { learningRate: 0.001, device: 'cpu' }, settingOrigin)).toMatchObject({
      learningRate: 0.001,
      device: 'cpu',
    });
    const error = refusal(() => parseOptions('tune', { learningRate: 2 }, settingOrigin));
    expect(error.message).toBe('earlyExit.tuning.learningRate must be a number from 0 to 1, not 2.');
    expect(error.code).toBe('bad-config');
  });

  it('tells the exits to tune from the exits to decode with', () => {
    expect(settingName(optionTables.tune.exits, 'exits')).toBe('earlyExit.exits');
    expect(settingName(optionTables.generate.exits, 'exits')).toBe('earlyExit.decoding.exits');
    expect(settingName(optionTables.generate.prompt, 'prompt')).toBeNull();
  });
});

describe('nearest', () => {
  it('finds near names only', () => {
    expect(nearest('promt', ['prompt', 'policy'])).toBe('prompt');
    expect(nearest('sparsity', ['prompt', 'policy'])).toBeNull();
    // One that is too far away hides none that is not.
    expect(nearest('abcdefgh', ['abcdx', 'abcdefghijkl'])).toBe('abcdefghijkl');
    expect(nearest('p'.repeat(1_000_000), ['prompt', 'policy'])).toBeNull();
  });
});
