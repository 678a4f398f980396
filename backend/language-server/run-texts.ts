/** What a run or a job does, in words. */
import type { PhaseEvent, ProgressEvent } from '../../protocol/events.ts';
import { modelBase } from '../../protocol/models.ts';
import { phaseNames } from '../../protocol/phases.ts';
import { plural, singular } from '../../protocol/plural.ts';

const progressText = ({ phase, done, total, unit }: ProgressEvent): string =>
  `${phaseNames[phase]}: ${done} of ${plural(total, singular(unit), unit)}`;

/** `Fitting: 40 windows of 512 tokens`, `Loading: typescript-5m`. A whole path would be too long for a status line. */
const phaseText = ({ phase, detail }: PhaseEvent): string =>
  [phaseNames[phase], phase === 'load' ? modelBase(detail) : detail].filter(Boolean).join(': ');

/** `Fitting: 3 of 40 windows`, and how much of that is done, from 0 to 1; null if not known. */
export const progressOf = (event: PhaseEvent | ProgressEvent): { message: string; share: number | null } =>
  event.type === 'phase'
    ? { message: phaseText(event), share: null }
    : { message: progressText(event), share: event.total > 0 ? event.done / event.total : null };
