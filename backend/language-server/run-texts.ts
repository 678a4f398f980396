/** What a run or a job does, in words. */
import type { Phase, PhaseEvent, ProgressEvent } from '../../protocol/events.ts';
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

const progressText = ({ phase, done, total, unit }: ProgressEvent): string =>
  `${phaseNames[phase]}: ${done} of ${plural(total, singular(unit), unit)}`;

/** `Fitting exits: 40 windows of 512 tokens`, `Loading: typescript-5m`. */
function phaseText({ phase, detail }: PhaseEvent): string {
  if (detail === '') return phaseNames[phase];
  return phase === 'load' ? `Loading: ${lastPart(detail)}` : `${phaseNames[phase]}: ${detail}`;
}

/** Without folders: a whole path is too long for a status line. */
const lastPart = (detail: string): string => detail.replace(/[/\\]+$/, '').replace(/^.*[/\\]/, '');

/** `Fitting exits: 3 of 40 windows`, and how much of that is done, from 0 to 1; null if not known. */
export const progressOf = (event: PhaseEvent | ProgressEvent): { message: string; share: number | null } =>
  event.type === 'phase'
    ? { message: phaseText(event), share: null }
    : { message: progressText(event), share: event.total > 0 ? event.done / event.total : null };
