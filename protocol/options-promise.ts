/** What a calibration promises of new text: one of two measures, and how far it may go. */

/**
 * `agreement`: at least such a share of tokens is the full model's own choice. `regret`: on average a token costs at most so many nats,
 * log p(best) − log p(token) of the full model, of which a token counts `mostRegret` at most.
 */
export interface Promised {
  readonly measure: 'agreement' | 'regret';
  readonly limit: number;
}

/** Nats; a token that is out of the question is not worse than that. */
export const mostRegret = 5;

export const promiseNotation =
  'agreement=SHARE, above 0 and at most 1, such as agreement=0.99, or regret=NATS, above 0 and at most 1, such as regret=0.01';

/** `agreement=0.99`, `regret=0.01`. Null where it cannot be read or lies outside its range. */
export function parsePromise(text: string): Promised | null {
  const [, measure, number] = /^\s*(agreement|regret)\s*=\s*(\d*\.?\d+(?:e-?\d+)?)\s*$/i.exec(text) ?? [];
  const limit = Number(number);
  if (measure === undefined || !(limit > 0 && limit <= 1)) return null;
  return { measure: measure.toLowerCase() as Promised['measure'], limit };
}

export const promiseText = ({ measure, limit }: Promised): string => `${measure}=${limit}`;

/** For a reader: `99 %`, `0.01 nats`. */
export const shownPromise = ({ measure, limit }: Promised): string =>
  measure === 'agreement' ? `${Number((100 * limit).toFixed(4))} %` : `${limit} nats`;
