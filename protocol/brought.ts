/** What leaving early brings and costs, as measured by a calibration. */

/** A mean and its standard error. */
export interface Figure {
  readonly value: number;
  readonly error: number;
}

export interface Brought {
  /** Time per token at full depth ÷ that of exits alone, without drafts; measured. */
  readonly speedup: Figure;
  /** Of the text that was judged: the share of tokens that are the full model's own choice, and what a token costs in nats. */
  readonly agreement: Figure;
  readonly regret: Figure;
  /** Processor and cores. */
  readonly machine: string;
  /** Cores that other programs kept busy meanwhile. */
  readonly busy: number;
}

/** In plain words. */
export function broughtText({ speedup, agreement, regret }: Brought): string {
  const share = (100 * agreement.value).toFixed(1);
  return `${speedup.value.toFixed(2)} × as fast as full depth; ${share} % of tokens are the full model's own choice; a token costs ${regret.value.toFixed(4)} nats`;
}

/** Cores of other programs from which on a speed is doubtful. */
const busyCores = 0.3;

/** A note about the effect of a busy machine on speeds; null if it was not busy. */
export const busyText = ({ busy }: Pick<Brought, 'busy'>): string | null =>
  busy < busyCores
    ? null
    : `Other programs kept ${busy.toFixed(1)} cores busy meanwhile: calibrate again on a quiet machine for reliable speeds.`;
