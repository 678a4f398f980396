/** What a calibration promises about new text: one of two measures, and its limit. */

/**
 * `agreement`: at least `limit` of the tokens, a share, are the full model's own choice. `regret`: on average a token loses at most `limit`
 * nats, log p(best) − log p(token) of the full model, clipped at `mostRegret`.
 */
export interface Promised {
  readonly measure: 'agreement' | 'regret';
  readonly limit: number;
}

/** Nats at which the regret of a token is clipped. */
export const mostRegret = 5;

export const promiseNotation =
  'agreement=SHARE, above 0 and at most 1, such as agreement=0.99, or regret=NATS, above 0 and at most 1, such as regret=0.01';

/** `agreement=0.99`, `regret=0.01`. Null if the text is neither, or the number outside its range. */
export function parsePromise(text: string): Promised | null {
  const [, measure, number] = /^\s*(agreement|regret)\s*=\s*((?:\d+(?:\.\d+)?|\.\d+)(?:e-?\d+)?)\s*$/i.exec(text) ?? [];
  const limit = Number(number);
  if (measure === undefined || !(limit > 0 && limit <= 1)) return null;
  return { measure: measure.toLowerCase() as Promised['measure'], limit };
}

export const promiseText = ({ measure, limit }: Promised): string => `${measure}=${limit}`;

/** For a reader: `99 %`, `0.01 nats`. */
export const shownPromise = ({ measure, limit }: Promised): string =>
  measure === 'agreement' ? `${Number((100 * limit).toFixed(4))} %` : `${limit} nats`;
