/** Figures of a run as the header shows them. Pure: no DOM. */
import type { CurveRun } from '../protocol/webview.ts';
import { t } from './texts.ts';

/** How much of a run is done; a finished one may have ended before its last step, by minutes or because it got no better. */
export const doneShare = ({ state, step, steps }: Pick<CurveRun, 'state' | 'step' | 'steps'>): number =>
  state === 'finished' ? 1 : steps > 0 ? Math.min(1, step / steps) : 0;

/** `42 s`, `3 min 5 s`, `2 h 10 min`. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return t('{0} s', whole);
  if (whole < 3600) return t('{0} min {1} s', Math.floor(whole / 60), whole % 60);
  return t('{0} h {1} min', Math.floor(whole / 3600), Math.floor((whole % 3600) / 60));
}
