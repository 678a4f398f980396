import { describe, expect, it, test } from 'vitest';
import { parseOptions } from '../../../../protocol/options/options.ts';
import type { Mode } from '../../../../protocol/trace.ts';
import type { Calibration } from '../../../../backend/checkpoint/calibration.ts';
import type { OpenModel } from '../../../../backend/decoding/sequence-options.ts';
import { findWays, inReadingOrder, type Way } from '../../../../backend/evaluation/tasks/ways.ts';

describe('the way calibrated', () => {
  const calibration = (fastest: Mode, thresholds: Calibration['thresholds']): Calibration => ({
    step: 1,
    promise: { measure: 'regret', limit: 0.02 },
    brought: null,
    fastest,
    deferred: 'memory',
    thresholds,
    gates: {},
  });
  const found = (calibrated: Calibration | null) => {
    const options = parseOptions('evaluate', { exits: 'x.exits', ways: 'calibrated', tasks: ['x.jsonl'] });
    const open: Omit<OpenModel, 'model'> = {
      tokenizer: { eosIds: [] } as unknown as OpenModel['tokenizer'],
      exits: [{ layer: 8, architecture: 'lens', head: { kind: 'own' } }],
      calibration: calibrated,
    };
    const layers = new Array(12);
    const model = { spec: { layers } } as unknown as OpenModel['model'];
    const { ways, warnings } = findWays(options, { ...open, model });
    return { names: ways.map(({ name }) => name), last: ways.at(-1)!.how, warning: warnings.join(' ') };
  };

  test('leaves at the calibrated thresholds', () => {
    const { names, last, warning } = found(calibration('fast', { '8:lens': 0.9 }));
    expect([names, warning]).toEqual([['full', 'calibrated'], '']);
    expect(last.enabled('8:lens')).toBe(true);
    expect(last.policy.kind === 'confidence' && last.policy.threshold('8:lens')).toBe(0.9);
  });

  test('does so, too, if another mode was faster', () => {
    const { names, last, warning } = found(calibration('lossless', { '8:lens': 0.9 }));
    expect(names).toEqual(['full', 'calibrated']);
    expect(last.enabled('8:lens')).toBe(true);
    expect(warning).toMatch(/lossless is faster here/);
  });

  test.each([
    [null, /not calibrated/],
    [calibration('full', {}), /no exit that saves time/],
  ])('is left out if no exit is calibrated', (without, why) => {
    const { names, warning } = found(without);
    expect(names).toEqual(['full']);
    expect(warning).toMatch(why);
  });
});

it.each([
  ['lossless,0.9,calibrated', ['Without exits there is no way 0.9 or calibrated. Name some with --exits.']],
  ['lossless', []],
  // What is tried where nothing was asked for.
  [undefined, []],
])('without exits, %j', (ways, warnings) => {
  const options = parseOptions('evaluate', { tasks: ['x.jsonl'], ...(ways && { ways }) });
  const tokenizer = { eosIds: [] } as unknown as OpenModel['tokenizer'];
  const model = { spec: { layers: new Array(12) } } as unknown as OpenModel['model'];
  const found = findWays(options, { tokenizer, exits: [], calibration: null, model });
  expect(found.ways.map(({ name }) => name)).toEqual(['full', 'lossless']);
  expect(found.warnings).toEqual(warnings);
});

it('puts ways first that compare exits with the full model within a prompt', () => {
  const way = (name: string, how: Partial<Way['how']>): Way => ({ name, how: how as Way['how'], uses: () => true });
  const ways = [
    way('full', {}),
    way('lossless', {}),
    way('calibrated', { onProbation: true }),
    way('0.9', { onProbation: false }),
    way('learned', { onProbation: true, learnedAnswers: true }),
  ];
  expect(inReadingOrder(ways).map(({ name }) => name)).toEqual(['calibrated', 'full', 'lossless', '0.9', 'learned']);
});
