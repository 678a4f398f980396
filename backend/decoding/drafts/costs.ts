/** What stages and readings cost on this machine, measured by running them. */
import { lowerQuartile, median } from '../../../protocol/median.ts';
import { openKvCache } from '../cache/kv-cache.ts';
import type { PassRatios, PassTable } from './pace.ts';
import { branchOf, trunkLength, type StagedModel } from '../../runtime/staged-model.ts';

export interface MeasuredCosts {
  /** Milliseconds of each stage for one token behind the text. */
  readonly stages: number[];
  /** Of each stage for one more token in the same pass. */
  readonly deferred: number[];
  /** Of all stages for one token of the text, which is read at once. */
  readonly ofPrompt: number;
  /** Of reading each exit, its branch included; the final one last. */
  readonly readings: number[];
  /** Milliseconds to fill the layers behind each exit from its memory, for one token; null if it has no memory. */
  readonly fills: (number | null)[];
}

/** The first passes of each size set up buffers. */
const warming = 3;

/**
 * Lower quartiles over `rounds` passes of one and of two tokens behind `text`, in turn: what they cost while other programs leave the
 * machine alone. What an exit reads beside its list depends on the text. Yields how many rounds are done.
 */
export async function* measureCosts(
  model: StagedModel,
  { text, rounds }: { readonly text: readonly number[]; readonly rounds: number },
): AsyncGenerator<{ readonly done: number; readonly total: number }, MeasuredCosts> {
  const samples = new Map<string, number[]>();
  let isMeasuring = false;
  const measured = (what: number | string, tokens: number, milliseconds: number): void => {
    if (!isMeasuring) return;
    const key = `${what}/${tokens}`;
    samples.set(key, [...(samples.get(key) ?? []), milliseconds]);
  };
  const cache = openKvCache(model, 1, measured);
  try {
    const remembering = [...model.exits.keys()].filter((k) => model.exits[k]!.remembers);
    const trunk = trunkLength(model);
    const context = Math.min(text.length, model.spec.contextLength - 3);
    cache.enter(0, text.slice(0, context));
    const began = performance.now();
    await cache.advance(trunk, [0]);
    const ofPrompt = (performance.now() - began) / context;
    for (let round = -warming; round < rounds; round++) {
      isMeasuring = round >= 0;
      for (const tokens of [1, 2]) {
        cache.enter(0, text.slice(0, tokens));
        // In the order of decoding: right behind another one, an exit is read in two thirds of the time.
        for (let stages = 1; stages <= trunk; stages++) {
          await cache.advance(stages, [0]);
          for (const [k, exit] of tokens === 1 ? model.exits.entries() : [])
            if (exit.stages === stages) await cache.read(k, [0], [1], { logits: false });
        }
        for (const k of tokens === 1 ? remembering : []) {
          const started = performance.now();
          await cache.leave(k, [{ row: 0, position: context }]);
          measured(`fill ${k}`, 1, performance.now() - started);
        }
        cache.truncate(0, context);
      }
      yield { done: round + warming + 1, total: rounds + warming };
    }
    const usual = (what: number | string, tokens: number): number =>
      lowerQuartile(samples.get(`${what}/${tokens}`) ?? []);
    return {
      stages: model.stages.slice(0, trunk).map((_, s) => usual(s, 1)),
      ofPrompt,
      deferred: model.stages.slice(0, trunk).map((_, s) => Math.max(0, usual(s, 2) - usual(s, 1))),
      fills: model.exits.map(({ remembers }, k) => (remembers ? usual(`fill ${k}`, 1) : null)),
      readings: model.exits.map((exit, k) => {
        const branch = branchOf(exit);
        return usual(-1 - k, 1) + (branch === null ? 0 : usual(branch, 1));
      }),
    };
  } finally {
    // Also if the caller stops it at a yield.
    cache.dispose();
  }
}

/** Of two measurements the smaller costs, one by one: other programs may hold the machine up for longer than a measurement takes. */
export function quieter(one: MeasuredCosts, other: MeasuredCosts): MeasuredCosts {
  const least = (a: readonly number[], b: readonly number[]): number[] => a.map((cost, i) => Math.min(cost, b[i]!));
  return {
    stages: least(one.stages, other.stages),
    deferred: least(one.deferred, other.deferred),
    ofPrompt: Math.min(one.ofPrompt, other.ofPrompt),
    readings: least(one.readings, other.readings),
    fills: one.fills.map((fill, k) => (fill === null ? null : Math.min(fill, other.fills[k]!))),
  };
}

export interface MeasuredPasses {
  readonly table: PassTable;
  /** Whether the rounds agree, so that the table is worth keeping: on a busy machine they differ. */
  readonly isSteady: boolean;
}

/** Sizes of passes in tokens; sizes in between are interpolated. */
const passSizes = [1, 2, 3, 4, 8, 16] as const;
const passRounds = 3;
const passContext = 64;
/** Milliseconds after which no further size and no further round begins: for a large model fewer sizes must do. */
const passBudget = 500;
/** Largest ratio of a size ÷ its smallest, of rounds that agree. */
const steadySpread = 1.3;

/** What passes of several tokens through all layers cost beside one of a single token, and so reading the final exit. */
export async function measurePasses(model: StagedModel): Promise<MeasuredPasses> {
  const took = { layers: 0, readings: 0 };
  const cache = openKvCache(model, 1, (stage, _, milliseconds) => {
    took[stage < 0 ? 'readings' : 'layers'] += milliseconds;
  });
  const [trunk, final] = [trunkLength(model), model.exits.length - 1];
  const context = Math.max(1, Math.min(passContext, model.spec.contextLength - Math.max(...passSizes) - 1));
  const enter = (count: number): void =>
    cache.enter(
      0,
      Array.from({ length: count }, (_, i) => (7 * i) % model.spec.vocabulary),
    );
  const pass = async (tokens: number): Promise<typeof took> => {
    Object.assign(took, { layers: 0, readings: 0 });
    enter(tokens);
    await cache.advance(trunk, [0]);
    await cache.read(final, [0], [tokens], { logits: false });
    cache.truncate(0, context);
    return { ...took };
  };
  const started = performance.now();
  const isLate = (): boolean => performance.now() - started > passBudget;
  try {
    enter(context);
    await cache.advance(trunk, [0]);
    const sizes: number[] = [];
    for (const size of passSizes) {
      if (size > model.spec.contextLength - context - 1 || (sizes.length > 1 && isLate())) break;
      // The first pass of each size sets up buffers.
      await pass(size);
      sizes.push(size);
    }
    const rounds: (typeof took)[][] = [];
    while (rounds.length < passRounds && (rounds.length === 0 || !isLate())) {
      const round: (typeof took)[] = [];
      for (const size of sizes) round.push(await pass(size));
      rounds.push(round);
    }
    const ratiosOf = (part: keyof typeof took, i: number): number[] =>
      rounds.map((round) => round[i]![part] / round[0]![part]);
    const medians = (part: keyof typeof took): PassRatios =>
      sizes.map((size, i) => [size, median(ratiosOf(part, i))] as const);
    const spreads = sizes
      .map((_, i) => ratiosOf('layers', i))
      .map((ratios) => Math.max(...ratios) / Math.min(...ratios));
    return {
      table: { layers: medians('layers'), readings: medians('readings') },
      isSteady: rounds.length > 1 && Math.max(...spreads) < steadySpread,
    };
  } finally {
    cache.dispose();
  }
}
