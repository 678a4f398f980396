/** What a run or a job does, in words. */
import type { Phase, ProgressEvent } from '../../protocol/events.ts';
import { plural, singular } from '../../protocol/plural.ts';

const phaseNames = {
  load: 'Loading the model',
  download: 'Downloading',
  tokenize: 'Reading the text',
  features: 'Reading hidden states',
  fit: 'Fitting exits',
  tune: 'Tuning',
  evaluate: 'Evaluating',
  measure: 'Measuring',
  generate: 'Generating',
  install: 'Installing',
  save: 'Saving',
} as const satisfies Record<Phase, string>;

export const phaseName = (phase: Phase): string => phaseNames[phase];

/** `Fitting exits: 3 of 40 windows`. */
export const progressText = ({ phase, done, total, unit }: ProgressEvent): string =>
  `${phaseName(phase)}: ${done} of ${plural(total, singular(unit), unit)}`;
