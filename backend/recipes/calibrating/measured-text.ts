/** The text on which exits are measured: the text that their own run held out, unless the user names another. */
import { dataOptions } from '../../../protocol/options/groups.ts';
import { flagName, parseOptions, type EvaluateOptions } from '../../../protocol/options/options.ts';
import type { Part } from '../../data/texts/packing.ts';
import type { TextOptions } from '../text.ts';

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
  const tuned = tunedSplit(tuning);
  const usual = parseOptions('tune', {});
  const splitSeed = options.splitSeed ?? tuned.splitSeed ?? usual.splitSeed;
  if (options.documents === 'all')
    return { text: { sequenceLength, heldOutFraction: 0, splitSeed }, part: 'train', warnings: [] };
  const heldOutFraction = options.heldOutFraction ?? tuned.heldOutFraction ?? usual.heldOutFraction;
  const warnings = splitWarnings({ splitSeed, heldOutFraction }, tuned, (flag) => `Leave ${flag} out.`);
  return { text: { sequenceLength, heldOutFraction, splitSeed }, part: 'heldOut', warnings };
}

/** Options with which a run measures the exits that it begins with on text from which they learned. `tuning`: of the run that tuned them. */
export const continuedText = (options: Split, tuning: Readonly<Record<string, unknown>>): string[] =>
  splitWarnings(options, tunedSplit(tuning), (flag, value) => `Give ${flag} ${value}.`);

/** How text is split into a part to learn from and a part that is held out. */
interface Split {
  readonly splitSeed: number;
  readonly heldOutFraction: number;
}

type TunedSplit = { readonly [Name in keyof Split]: number | null };

function splitWarnings(now: Split, tuned: TunedSplit, advice: (flag: string, value: number) => string): string[] {
  const others = (['splitSeed', 'heldOutFraction'] as const).filter(
    // A smaller share is a part of the larger one.
    (name) => (name === 'splitSeed' ? now[name] !== (tuned[name] ?? now[name]) : now[name] > (tuned[name] ?? 1)),
  );
  return others.map((name) => {
    const flag = flagName(name);
    return `The exits were tuned with ${flag} ${tuned[name]}: with ${now[name]}, they are measured on text that they learned from, unless it is other text. ${advice(flag, tuned[name]!)}`;
  });
}

const tunedSplit = (tuning: Readonly<Record<string, unknown>>): TunedSplit => ({
  splitSeed: tunedValue('splitSeed', withSplitSeed(tuning)),
  heldOutFraction: tunedValue('heldOutFraction', tuning),
});

/** Runs of earlier versions have no seed for the split; they used their one seed. */
export const withSplitSeed = (tuning: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> => ({
  splitSeed: tuning['seed'],
  ...tuning,
});

function tunedValue(name: 'splitSeed' | 'heldOutFraction', tuning: Readonly<Record<string, unknown>>): number | null {
  const read = dataOptions[name].read(tuning[name]);
  return read.ok ? read.value : null;
}
