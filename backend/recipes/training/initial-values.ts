/** First values of the exits' parameters: copies, noise, or a fit to the final exit's state. */
import { setImmediate } from 'node:timers/promises';
import { plural } from '../../../protocol/plural.ts';
import type { TuneEvent } from '../../../protocol/events.ts';
import type { TuneOptions } from '../../../protocol/options/options.ts';
import type { KeptMemory } from '../../checkpoint/memory.ts';
import { initialiseExit } from '../../exits/initialise.ts';
import { openFit } from '../../tuning/fit/exits.ts';
import { windowsAt } from '../../tuning/trainer-order.ts';
import type { TuneParts } from './parts.ts';

type Values = ReadonlyMap<string, Float32Array>;

export interface Fitted {
  readonly parameters: Values;
  /** By cut name. */
  readonly memories: ReadonlyMap<string, KeptMemory>;
  /** The number of windows for which there was time. */
  readonly windows: number;
}

/** One to learn from, one kept apart. */
const leastWindows = 2;

/** Copies of the backbone's parameters, or seeded noise. */
export function plainExits({ exits, model }: TuneParts, { initialise, seed }: TuneOptions): Map<string, Float32Array> {
  const kind = initialise === 'random' ? ({ kind: 'random', seed } as const) : ({ kind: 'copy' } as const);
  return new Map(exits.flatMap((exit) => [...initialiseExit(model.spec, exit, model.parameters, kind)]));
}

/**
 * Fits exits, starting from copies, and their memories, on the windows that tuning takes first, so that their states are in the cache then.
 * It ends after `seconds`, its solution included, or when the signal is aborted, but uses at least two windows: one to learn from, one kept
 * apart.
 */
export async function* fitExits(
  { exits, model, windows, fitStates, memories, teach }: TuneParts,
  { fitTokens, seed, threads }: TuneOptions,
  copies: Values,
  seconds: number,
  signal: AbortSignal,
): AsyncGenerator<TuneEvent, Fitted> {
  const until = performance.now() + 1000 * seconds;
  const count = Math.min(windows.count, Math.ceil(fitTokens / windows.tokens));
  yield { type: 'phase', phase: 'fit', detail: `${plural(count, 'window')} of ${plural(windows.tokens, 'token')}` };
  const fit = await openFit({
    spec: model.spec,
    exits,
    initial: copies,
    model: model.parameters,
    memories,
    teach,
    tokens: windows.tokens,
    ...(threads > 0 && { threads }),
  });
  try {
    const isOver = (end: number): boolean => signal.aborted || performance.now() >= end;
    let done = 0;
    while (done < count && (done < leastWindows || !isOver(until - 1000 * fit.solveSeconds))) {
      const taken = windowsAt(seed, windows.count, done, 1);
      await fit.add(
        await fitStates.batch(taken),
        taken.map((i) => [...windows.window(i).ids]),
      );
      done++;
      yield { type: 'progress', phase: 'fit', done, total: count, unit: 'windows' };
      // The runtime computes without giving way: let messages in.
      await setImmediate();
    }
    const parameters = await fit.solve(() => isOver(until));
    const fitted = await fit.solveMemories(() => isOver(until));
    const trust = await fit.solveTrust(() => isOver(until));
    for (const [cut, { weight, bias, errors }] of fitted)
      yield { type: 'memory', cut, numbers: weight.length + bias.length, errors };
    const memories = new Map([...fitted].map(([cut, memory]) => [cut, { ...memory, trust: trust.get(cut) ?? null }]));
    return { parameters, memories, windows: done };
  } finally {
    await fit.dispose();
  }
}
