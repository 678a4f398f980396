/** Figures of a run as the header shows them. Pure: no DOM. */
import type { CurvePlan, CurveRun } from '../protocol/webview.ts';
import { t } from './texts.ts';

/** How much of a run is done; a finished one may have ended before its last step, by minutes or because it got no better. */
export const doneShare = ({ state, share }: Pick<CurveRun, 'state' | 'share'>): number =>
  state === 'finished' ? 1 : (share ?? 0);

/** A run some seconds after its last report. */
export function later(run: CurveRun, seconds: number): CurveRun {
  if (run.state !== 'running') return run;
  const spent = run.spent === null ? null : run.spent + seconds;
  const left = run.left === null ? null : Math.max(0, run.left - seconds);
  const share = run.byMinutes && spent !== null && left !== null ? spent / (spent + left) : run.share;
  return { ...run, spent, left, share };
}

/** The parts of a run's minutes, in order. */
export const partNames = ['start', 'held-out', 'fit', 'updates', 'calibration'] as const;
export type PartName = (typeof partNames)[number];

/** A part of a run's minutes. */
export interface PlanPart {
  readonly part: PartName;
  readonly seconds: number;
  /** How much of it is over, from 0 to 1. */
  readonly done: number;
}

/** The parts of a plan in the order of the run; parts without time are left out. */
export function planParts({ total, evaluation, fit, updates, calibration }: CurvePlan, spent: number): PlanPart[] {
  const start = Math.max(0, total - evaluation - fit - updates - calibration);
  const all = { start, 'held-out': evaluation, fit, updates, calibration };
  let from = 0;
  return partNames.flatMap((part) => {
    const seconds = all[part];
    if (seconds <= 0) return [];
    const done = Math.min(1, Math.max(0, (spent - from) / seconds));
    from += seconds;
    return [{ part, seconds, done }];
  });
}

/** `42 s`, `3 min 5 s`, `2 h 10 min`. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return t('{0} s', whole);
  if (whole < 3600)
    return whole % 60 === 0 ? t('{0} min', whole / 60) : t('{0} min {1} s', Math.floor(whole / 60), whole % 60);
  return t('{0} h {1} min', Math.floor(whole / 3600), Math.floor((whole % 3600) / 60));
}
