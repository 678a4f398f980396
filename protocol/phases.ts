/** What a person reads of each phase of a job. */
import type { Phase } from './events.ts';

export const phaseNames = {
  load: 'Loading',
  download: 'Downloading',
  tokenize: 'Reading data',
  features: 'Running the backbone',
  fit: 'Fitting',
  tune: 'Tuning',
  evaluate: 'Evaluating',
  measure: 'Measuring',
  generate: 'Generating',
  install: 'Installing',
  save: 'Saving',
} as const satisfies Readonly<Record<Phase, string>>;
