/** What a job reports at its end, as a line. */
export const finished = (stopped: boolean): string =>
  JSON.stringify({
    ...{ type: 'finished', step: 9, before: [], after: [], seconds: 4, stopped },
    traffic: { hidden: 0, final: 0, gradients: 0, bookkeeping: 0, tensor: 0 },
    memory: { backbone: 1, exits: 1, heads: 1 },
  });
