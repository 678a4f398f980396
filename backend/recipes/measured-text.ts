/** The text on which exits are measured: the text that their own run held out, unless the user names another. */
import { dataOptions } from '../../protocol/options-groups.ts';
import { flagName, parseOptions, type EvaluateOptions } from '../../protocol/options.ts';
import type { Part } from '../data/packing.ts';
import type { TextOptions } from './text.ts';

type MeasuredTextOptions = Pick<EvaluateOptions, 'documents' | 'sequenceLength' | 'heldOutFraction' | 'splitSeed'>;

export interface MeasuredText {
  readonly text: TextOptions;
  readonly part: Part;
  /** Options with which exits are measured on text from which they learned. */
  readonly warnings: readonly string[];
}

/** `tuning`: the options of the run that tuned the exits, as their checkpoint has them. */
export function measuredText(options: MeasuredTextOptions, tuning: Readonly<Record<string, unknown>>): MeasuredText {
  const { sequenceLength } = options;
  const tuned = {
    splitSeed: tunedValue('splitSeed', withSplitSeed(tuning)),
    heldOutFraction: tunedValue('heldOutFraction', tuning),
  };
  const usual = parseOptions('tune', {});
  const splitSeed = options.splitSeed ?? tuned.splitSeed ?? usual.splitSeed;
  if (options.documents === 'all')
    return { text: { sequenceLength, heldOutFraction: 0, splitSeed }, part: 'train', warnings: [] };
  const heldOutFraction = options.heldOutFraction ?? tuned.heldOutFraction ?? usual.heldOutFraction;
  const warnings: string[] = [];
  const warn = (name: keyof typeof tuned, value: number): void => {
    const flag = flagName(name);
    warnings.push(
      `The exits were tuned with ${flag} ${tuned[name]}: with ${value}, they are measured on text that they learned from, unless it is other text. Leave ${flag} out.`,
    );
  };
  if (tuned.splitSeed !== null && splitSeed !== tuned.splitSeed) warn('splitSeed', splitSeed);
  // A smaller share is a part of the larger one.
  if (tuned.heldOutFraction !== null && heldOutFraction > tuned.heldOutFraction)
    warn('heldOutFraction', heldOutFraction);
  return { text: { sequenceLength, heldOutFraction, splitSeed }, part: 'heldOut', warnings };
}

/** Runs of earlier versions have no seed for the split; they used their one seed. */
export const withSplitSeed = (tuning: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> => ({
  splitSeed: tuning['seed'],
  ...tuning,
});

function tunedValue(name: 'splitSeed' | 'heldOutFraction', tuning: Readonly<Record<string, unknown>>): number | null {
  const read = dataOptions[name].read(tuning[name]);
  return read.ok ? read.value : null;
}
