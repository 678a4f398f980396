/** The default never changes the text for the worse: what mode runs, and what is said of it. */
import { describe, expect, test } from 'vitest';
import type { Calibration } from '../../../../backend/checkpoint/checkpoint.ts';
import {
  broughtBy,
  enabledExits,
  modeOf,
  modeWarning,
  policyOf,
  policyText,
  samplingWarning,
} from '../../../../backend/decoding/leaving/mode.ts';
import { parseOptions } from '../../../../protocol/options/options.ts';
import type { Mode } from '../../../../protocol/trace.ts';

const optionsOf = (given: Record<string, unknown> = {}) =>
  parseOptions('generate', { prompt: ['a'], exits: 'my.exits', ...given });
const calibrated = (fastest: Mode): Calibration => ({
  step: 1,
  promise: { measure: 'agreement', limit: 0.99 },
  brought: null,
  fastest,
  deferred: 'exact',
  thresholds: { '8:lens': 0.9 },
  gates: {},
});

describe('without a calibration', () => {
  test.each([
    [{}, 'lossless'],
    [{ exits: null }, 'lossless'],
    [{ threshold: 0.5 }, 'lossless'],
    [{ policy: 'patience' }, 'lossless'],
    [{ mode: 'full' }, 'full'],
    [{ mode: 'fast' }, 'fast'],
  ] as const)('%o runs %s', (given, mode) => expect(modeOf(optionsOf(given), null)).toBe(mode));

  test('only a named mode leaves early, and it says what that means', () => {
    expect(modeWarning(optionsOf(), null)).toBeNull();
    expect(modeWarning(optionsOf({ mode: 'lossless' }), null)).toBeNull();
    expect(modeWarning(optionsOf({ mode: 'fast' }), null)).toMatch(/not calibrated: the text can be worse/);
    expect(modeWarning(optionsOf({ mode: 'full', exits: null }), null)).toBeNull();
  });

  test('where nothing can leave, mode fast says that it is full depth', () => {
    expect(modeWarning(optionsOf({ mode: 'fast', exits: null }), null)).toMatch(/^There are no exits, .* full depth/);
    const nothing = { ...calibrated('full'), thresholds: {} };
    expect(modeWarning(optionsOf({ mode: 'fast' }), nothing)).toMatch(/^The calibration found no exit .* full depth/);
    expect(modeWarning(optionsOf({ mode: 'fast', threshold: 0.5 }), nothing)).toMatch(/not calibrated/);
    expect(modeWarning(optionsOf(), nothing), 'the default promises no leaving').toBeNull();
  });

  test('a threshold that is not used is not passed over in silence', () => {
    expect(modeWarning(optionsOf({ threshold: 0.5 }), null)).toMatch(/apply only in mode fast.*the mode is lossless/);
    expect(modeWarning(optionsOf({ threshold: 0.5, exits: null }), null)).toBeNull();
    expect(modeWarning(optionsOf({ threshold: 0.5, mode: 'full' }), null)).toMatch(
      /only in mode fast, but full was requested/,
    );
    expect(modeWarning(optionsOf({ policy: 'margin', mode: 'lossless' }), null)).toMatch(/but lossless was requested/);
    expect(modeWarning(optionsOf({ mode: 'full' }), null)).toBeNull();
  });

  test('nor are options of sampling where nothing is drawn', () => {
    for (const given of [{ topP: 0.5 }, { minP: 0.1 }, { topK: 3 }]) {
      expect(samplingWarning(optionsOf(given))).toMatch(/at temperature 0 the most probable one is taken/);
      expect(samplingWarning(optionsOf({ ...given, temperature: 0.7 }))).toBeNull();
    }
    expect(samplingWarning(optionsOf())).toBeNull();
  });
});

describe('with a calibration, auto', () => {
  test.each(['fast', 'lossless', 'full'] as const)('is %s where that was fastest', (mode) => {
    expect(modeOf(optionsOf(), calibrated(mode))).toBe(mode);
    expect(modeWarning(optionsOf(), calibrated(mode))).toBeNull();
  });

  test.each([
    { threshold: 0.5 },
    { policy: 'margin' },
    { temperature: 0.7 },
    { repetitionPenalty: 1.1 },
    { disable: ['8'] },
  ])('is lossless where %o makes the promise void', (given) =>
    expect(modeOf(optionsOf(given), calibrated('fast'))).toBe('lossless'),
  );

  test('leaves only where and as surely as was promised', () => {
    const isEnabled = enabledExits(optionsOf(), calibrated('fast'), 12);
    expect(['4:lens', '8:lens'].map(isEnabled)).toEqual([false, true]);
    const policy = policyOf(optionsOf(), calibrated('fast'));
    if (policy.kind !== 'confidence') throw new Error(policy.kind);
    expect(['4:lens', '8:lens'].map(policy.threshold)).toEqual([1, 0.9]);
    // Drafts come from shallow exits, whatever was calibrated; at full depth no exit is used.
    expect(['4:lens', '8:lens'].map(enabledExits(optionsOf(), calibrated('lossless'), 16))).toEqual([true, false]);
    expect(['4:lens', '8:lens'].map(enabledExits(optionsOf(), calibrated('full'), 12))).toEqual([false, false]);
  });

  test('keeps no promise without an exit that it was made with', () => {
    const disabled = { disable: ['8'] };
    expect(modeWarning(optionsOf(disabled), null)).toBeNull();
    expect(modeWarning(optionsOf(disabled), calibrated('fast'))).toMatch(/exits are disabled: the mode is lossless/);
    expect(modeWarning(optionsOf({ ...disabled, mode: 'fast' }), calibrated('fast'))).toMatch(/not calibrated/);
  });

  test('keeps it where an exit is disabled that it asks nothing of', () => {
    const given = optionsOf({ disable: ['4', '10:lens'] });
    expect(modeOf(given, calibrated('fast'))).toBe('fast');
    expect(modeWarning(given, calibrated('fast'))).toBeNull();
    expect(policyText(given, calibrated('fast'))).toBe('as calibrated');
  });

  const figure = { value: 1, error: 0 };
  const brought = { speedup: figure, agreement: figure, regret: figure, machine: '', busy: 0 };
  const tested: Calibration = { ...calibrated('fast'), brought, promptExit: 20 };

  test.each([
    [{ deferred: 'memory' }, /nothing with --deferred memory: the mode is lossless/],
    [{ promptExit: '16' }, /nothing with --prompt-exit 16: the mode is lossless/],
    // That samples are lossless is the rule.
    [{ temperature: 1 }, null],
  ])('keeps it within what was tested: %o is beyond', (given, warning) => {
    expect(modeOf(optionsOf(given), tested)).toBe('lossless');
    expect(modeWarning(optionsOf(given), tested) ?? '').toMatch(warning ?? /^$/);
    const fast = optionsOf({ ...given, mode: 'fast' });
    expect(policyText(fast, tested)).toBe('as calibrated');
    expect(modeWarning(fast, tested)).toMatch(/promises nothing .*: the text can be worse/);
    expect(broughtBy(fast, tested)).toBeNull();
  });

  test.each([{}, { deferred: 'exact' }, { promptExit: 'auto' }, { promptExit: '20' }, { promptExit: '22' }])(
    'keeps it within what was tested: %o is not beyond',
    (given) => {
      expect(modeOf(optionsOf(given), tested)).toBe('fast');
      expect(modeWarning(optionsOf(given), tested)).toBeNull();
      expect(broughtBy(optionsOf(given), tested)).toMatch(/as fast as full depth/);
    },
  );

  test('a named threshold takes the place of the calibration in a named mode', () => {
    const given = optionsOf({ mode: 'fast', threshold: '0.5,8:lens=0.7' });
    expect(modeWarning(given, calibrated('fast'))).toMatch(/not calibrated/);
    expect(policyText(given, calibrated('fast'))).toBe('confidence 0.5,8:lens=0.7, not calibrated');
    expect(['4:lens', '8:lens'].map(enabledExits(given, calibrated('fast'), 12))).toEqual([true, true]);
  });
});

test('the rule of a trace names what ran', () => {
  expect(policyText(optionsOf(), calibrated('fast'))).toBe('as calibrated');
  expect(policyText(optionsOf(), null)).toBeNull();
  expect(policyText(optionsOf({ mode: 'fast' }), null)).toBe('confidence 0.8, not calibrated');
  expect(policyText(optionsOf({ mode: 'fast', policy: 'entropy' }), null)).toBe('entropy 0.8, not calibrated');
  expect(policyText(optionsOf({ mode: 'fast', threshold: '8=0.7' }), null)).toBe(
    'confidence 0.8,8=0.7, not calibrated',
  );
  expect(policyText(optionsOf({ mode: 'fast', policy: 'patience' }), null)).toBe('patience 2, not calibrated');
});
