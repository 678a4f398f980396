/** Warnings come when they arise, also before an error, and whoever leaves ends the run. */
import { expect, test } from 'vitest';
import type { TuneEvent } from '../../../../protocol/events.ts';
import { withWarnings } from '../../../../backend/recipes/training/warnings.ts';

const phase = (detail: string): TuneEvent => ({ type: 'phase', phase: 'tune', detail });
const warning = (message: string): TuneEvent => ({ type: 'warning', message });

/** A run of two phases: warns before each of them and behind the second, and then fails, if it is to. */
function run(fails: boolean) {
  const warnings: string[] = [];
  const log: string[] = [];
  async function* events(): AsyncGenerator<TuneEvent, string> {
    try {
      for (const name of ['first', 'second']) {
        warnings.push(`before the ${name}`);
        yield phase(name);
      }
      warnings.push('at the end');
      await Promise.resolve();
      if (fails) throw new Error('failed');
      return 'result';
    } finally {
      log.push('closed');
    }
  }
  return { events: withWarnings(events(), () => warnings.splice(0)), log };
}
const all = [warning('before the first'), phase('first'), warning('before the second'), phase('second'), warning('at the end')]; // prettier-ignore

test('warnings come before the next event and before the end, and the result is kept', async () => {
  const { events } = run(false);
  const seen: TuneEvent[] = [];
  const collect = async function* (): AsyncGenerator<TuneEvent, void> {
    expect(yield* events).toBe('result');
  };
  for await (const event of collect()) seen.push(event);
  expect(seen).toEqual(all);
});

test('they come before an error, too', async () => {
  const { events } = run(true);
  const seen: TuneEvent[] = [];
  const reading = (async (): Promise<void> => {
    for await (const event of events) seen.push(event);
  })();
  await expect(reading).rejects.toThrow('failed');
  expect(seen).toEqual(all);
});

test('a run whose events are taken no more is closed', async () => {
  const { events, log } = run(false);
  for await (const event of events) if (event.type === 'phase') break;
  expect(log).toEqual(['closed']);
});
