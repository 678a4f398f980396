/** What was found of exits, in words and as Markdown. Pure: knows no `vscode`. */
import { broughtText, busyText } from '../../protocol/brought.ts';
import type { CalibratedEvent, TuneEvent } from '../../protocol/events.ts';
import type { ExitsSummary, JobOutcome } from '../../protocol/server.ts';

/** What a calibration found, in a sentence or two. */
export function calibrationText({ brought, tried, speedups, fastest }: CalibratedEvent): string {
  if (brought === null) {
    const leaving = tried
      ? `leaving early keeps the promise, but does not pay by itself here (${tried.speedup.value.toFixed(2)} × full depth).`
      : 'leaving early brings nothing within the promise here.';
    const drafts =
      fastest === 'lossless'
        ? `Drafting tokens ahead alone brings ${speedups.lossless.toFixed(2)} ×`
        : 'Drafting tokens ahead brings nothing either';
    return [leaving, `${drafts}, so the default mode is ${fastest}.`, tried && busyText(tried)]
      .filter(Boolean)
      .join(' ');
  }
  const others = `Drafting tokens ahead alone brings ${speedups.lossless.toFixed(2)} × and changes no text, so the default mode is ${fastest}.`;
  return [`${broughtText(brought)}.`, fastest === 'fast' ? null : others, busyText(brought)].filter(Boolean).join(' ');
}

/** The description after a name in the list: first the gain of a calibration, since a narrow list cuts its rows. */
export const exitsRow = (exits: Pick<ExitsSummary, 'calibration' | 'exits' | 'model'>): string =>
  [calibrationFigure(exits), exits.exits.join(' '), exits.model].filter((text) => text !== '').join(' · ');

/** Such as `1.31 × at 99.2 %`, `lossless`, `not calibrated`. */
function calibrationFigure({ calibration }: Pick<ExitsSummary, 'calibration'>): string {
  if (calibration === null) return 'not calibrated';
  const { mode, speedup, agreement } = calibration;
  if (mode !== 'fast' || speedup === null) return mode;
  return `${speedup.toFixed(2)} ×${agreement === null ? '' : ` at ${(100 * agreement).toFixed(1)} %`}`;
}

/** Why a run could not calibrate its exits on its text, which is too short for that; null if it could. */
export function lacksText(events: readonly TuneEvent[]): string | null {
  const warnings = events.filter((event) => event.type === 'warning');
  return warnings.findLast(({ lacks }) => lacks === 'text')?.message ?? null;
}

/** Minutes that calibrating should take, as the run has estimated or planned; null if it was calibrated, or its text does not suffice. */
export function calibrationMinutes(events: readonly TuneEvent[]): number | null {
  if (events.some(({ type }) => type === 'calibrated') || lacksText(events) !== null) return null;
  const expected = events.findLast((event) => event.type === 'expected')?.seconds;
  // A run without room for a calibration plans none.
  const planned = events.findLast((event) => event.type === 'minutes')?.seconds.calibration || undefined;
  return Math.max(1, Math.ceil((expected ?? planned ?? usualSeconds) / 60));
}

/** For a small model on a few cores; longer for a larger one. */
const usualSeconds = 120;

type Evaluated = Extract<JobOutcome, { type: 'evaluated' }>;

export function evaluationReport(name: string, { tokens, scores, sweep }: Evaluated): string {
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
  return [
    `# ${name}`,
    '',
    `${tokens.toLocaleString('en')} held-out tokens.`,
    '',
    '| exit | loss (nats a token) | foresees the next token | agrees with the full model |',
    '|:--|--:|--:|--:|',
    ...scores.map(
      ({ exit, loss, accuracy, agreement }) =>
        `| ${exit} | ${loss.toFixed(3)} | ${percent(accuracy)} | ${percent(agreement)} |`,
    ),
    '',
    'If tokens left at the first exit that is as sure as a threshold:',
    '',
    '| threshold | layers on average | share of layers | agrees with the full model |',
    '|--:|--:|--:|--:|',
    ...sweep.map(
      ({ threshold, meanLayer, layerShare, agreement }) =>
        `| ${threshold.toFixed(2)} | ${meanLayer.toFixed(1)} | ${percent(layerShare)} | ${percent(agreement)} |`,
    ),
    '',
  ].join('\n');
}
