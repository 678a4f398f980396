/** Work of which only one piece is done at a time: clients take turns. Knows no texts. */
import { newTurns } from '../../decoding/turns.ts';

/** Begins the work once it is the client's turn; settles as it does. */
export type OneByOne = <Result>(client: string, work: () => Promise<Result>) => Promise<Result>;

export function oneByOne(): OneByOne {
  const waiting = newTurns<{ readonly client: string; readonly begin: () => void }>(({ client }) => [client]);
  let isBusy = false;
  const goOn = (): void => {
    const next = waiting.next();
    isBusy = next !== undefined;
    if (next === undefined) return;
    waiting.remove(next);
    next.begin();
  };
  return async (client, work) => {
    if (isBusy) await new Promise<void>((begin) => waiting.add({ client, begin }));
    isBusy = true;
    try {
      return await work();
    } finally {
      goOn();
    }
  };
}
