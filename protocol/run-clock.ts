/** How long a run has worked, and how much is left of the minutes that it was given. Pure. */

/** Over all parts of a run, which may be paused, and resumed in another process. */
export interface RunClock {
  /** The minutes of the whole run; null if steps or epochs end it. */
  readonly minutes: number | null;
  /** Seconds that it worked before `since`. */
  readonly seconds: number;
  /** Since when it works, ISO 8601; null while it does not. */
  readonly since: string | null;
}

/** `now` in milliseconds since 1970. */
export const spentSeconds = ({ seconds, since }: RunClock, now: number): number =>
  seconds + (since === null ? 0 : Math.max(0, (now - Date.parse(since)) / 1000));

export const started = (clock: RunClock, now: number): RunClock => ({ ...clock, since: new Date(now).toISOString() });

export const stopped = (clock: RunClock, now: number): RunClock => ({
  ...clock,
  seconds: spentSeconds(clock, now),
  since: null,
});

/** The same clock, with what was worked up to now: a reader after a crash misses nothing before. */
export const ticked = (clock: RunClock, now: number): RunClock =>
  clock.since === null ? clock : started(stopped(clock, now), now);

/** A run as the minutes see it, else its steps. */
export interface Timed {
  readonly clock?: RunClock;
  readonly step: number;
  readonly steps: number;
  readonly secondsLeft: number;
}

/** Seconds to the end; null if not known yet. */
export function secondsLeft({ clock, steps, secondsLeft: bySteps }: Timed, now: number): number | null {
  if (clock && clock.minutes !== null) return Math.max(0, 60 * clock.minutes - spentSeconds(clock, now));
  return steps > 0 ? bySteps : null;
}

/** From 0 to 1; null if not known yet. */
export function doneShare({ clock, step, steps }: Timed, now: number): number | null {
  if (clock && clock.minutes !== null) return Math.min(1, spentSeconds(clock, now) / (60 * clock.minutes));
  return steps > 0 ? Math.min(1, step / steps) : null;
}
