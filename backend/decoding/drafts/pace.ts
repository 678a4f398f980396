/**
 * What things cost on this machine and how often drafts are right, learned while decoding. Decides how many tokens are
 * worth drafting: only speed depends on it, never the text.
 */
import { newCredit, type Credit } from './credit.ts';
import { branchOf, stageLayers, type StagedModel } from '../../runtime/staged-model.ts';

/** Sizes of passes in tokens, ascending, and what each costs ÷ one of a single token. */
export type PassRatios = readonly (readonly [tokens: number, ratio: number])[];

/** What passes of several tokens cost on a machine, a model's layers and readings of its exits apart. */
export interface PassTable {
  readonly layers: PassRatios;
  readonly readings: PassRatios;
}

export interface Pace {
  /** What a pass of a stage (as stage −1 − k: of exit k's readout) over `tokens` tokens took, in milliseconds. */
  measured(stage: number, tokens: number, milliseconds: number): void;
  /** Milliseconds of all passes and readings so far. */
  spent(): number;
  /** Expected milliseconds of stages `[from, to)` over `tokens` tokens in one pass. */
  stages(from: number, to: number, tokens: number): number;
  /** Expected milliseconds of reading exit k for `tokens` tokens, its branch included. */
  reading(k: number, tokens: number): number;
  /** `tokens` tokens were decided, their drafts made and verified, in `milliseconds`. */
  decided(tokens: number, milliseconds: number): void;
  /** Expected milliseconds per token, which an accepted draft saves; `unknown` if no token was decided yet. */
  perToken(unknown: number): number;
  /** A token that the text foretells was decided without drafts, in a text that trusts hints. */
  foretold(milliseconds: number): void;
  /** Expected milliseconds of such a token, which a right draft saves in such a text; 0 before any was decided. */
  perForetold(): number;
  /** A draft of this kind was right, or not. */
  judged(kind: string, accepted: boolean): void;
  /** Expected share of right drafts of this kind. */
  acceptance(kind: string): number;
  /** What more tokens are worth, by their number (a probability, for a draft) and what each saves; above 0 they pay. */
  gain(tokens: number, saved: number, spent: number): number;
  /** Which exits are worth reading for drafts. */
  readonly drafters: Credit;
}

/**
 * Before anything was measured: what passes cost on a processor without matrix units. A guess that is too high costs nothing in text that
 * hardly repeats itself, and text that does drafts enough tokens at once to show that a pass is cheaper.
 */
const guessedRatios: PassRatios = [
  [1, 1],
  [2, 1.85],
  [4, 3],
  [8, 4.5],
  [16, 7],
];
const guessedTable: PassTable = { layers: guessedRatios, readings: guessedRatios };
/** Before any was judged, drafts are right as often as not. */
const priorRate = 0.5;
/** New measurements and judgements count at least this much; of the first few, all count the same. */
const weight = 0.1;
const judgedWeight = 0.05;
/** A token's time differs from token to token, so each counts little. */
const tokenWeight = 0.02;
/** A stalled machine is no measurement. */
const stall = 4;
/** The gain of a draft is less certain than its cost. */
const caution = 1.1;

/** `known`: the cost of passes of several tokens, if it was measured before; else it is estimated until passes are timed. */
export function newPace(model: StagedModel, known: PassTable | null = null): Pace {
  const rates = new Map<string, { rate: number; count: number }>();
  const layersOf = model.stages.map(stageLayers);
  const branches = model.exits.map(branchOf);
  const drafters = newCredit();
  let tokenTime: number | null = null;
  const foretold = { milliseconds: 0, count: 0 };
  /** Milliseconds a layer, so that nothing measured yet is at least in proportion. */
  let perLayer = 1;
  let spent = 0;
  const costs = new Map<number, Costs>();
  const ratiosFor = (stage: number): PassRatios => (known ?? guessedTable)[stage < 0 ? 'readings' : 'layers'];
  const cost = (stage: number, tokens: number): number => {
    const own = costs.get(stage) ?? noCosts;
    const one = own.one ?? perLayer * (stage >= 0 ? layersOf[stage]! : 1);
    return one * ratioOf(own, tokens, ratiosFor(stage));
  };

  return {
    spent: () => spent,
    measured(stage, tokens, milliseconds) {
      spent += milliseconds;
      const own = costs.get(stage) ?? { one: null, sizes: new Map() };
      costs.set(stage, own);
      learn(own, tokens, milliseconds, ratiosFor(stage));
      if (stage >= 0 && tokens === 1) perLayer += weight * (milliseconds / layersOf[stage]! - perLayer);
    },
    stages(from, to, tokens) {
      let total = 0;
      for (let s = from; s < to; s++) total += cost(s, tokens);
      return total;
    },
    reading(k, tokens) {
      const branch = branches[k] ?? null;
      return cost(-1 - k, tokens) + (branch === null ? 0 : cost(branch, tokens));
    },
    drafters,
    decided(tokens, milliseconds) {
      drafters.passed(tokens);
      const each = milliseconds / tokens;
      // Every token of a pass counts as one measurement.
      if (tokenTime === null) tokenTime = each;
      else tokenTime += (1 - (1 - tokenWeight) ** tokens) * (Math.min(each, stall * tokenTime) - tokenTime);
    },
    perToken: (unknown) => tokenTime ?? unknown,
    foretold(milliseconds) {
      const usual = foretold.count === 0 ? milliseconds : foretold.milliseconds;
      const share = Math.max(weight, 1 / ++foretold.count);
      foretold.milliseconds = usual + share * (Math.min(milliseconds, stall * usual) - usual);
    },
    perForetold: () => foretold.milliseconds,
    judged(kind, accepted) {
      const { rate, count } = rates.get(kind) ?? { rate: priorRate, count: 1 };
      const share = Math.max(judgedWeight, 1 / (count + 2));
      rates.set(kind, { rate: rate + share * (Number(accepted) - rate), count: count + 1 });
    },
    acceptance: (kind) => rates.get(kind)?.rate ?? priorRate,
    gain: (tokens, saved, spent) => tokens * saved - caution * spent,
  };
}

/**
 * Passes of one stage: the current milliseconds of a pass of one token, and the cost of other sizes relative to it. So if the machine
 * becomes slower or faster, the cost of all sizes changes, also of sizes without recent passes.
 */
interface Costs {
  one: number | null;
  readonly sizes: Map<number, { ratio: number; count: number }>;
}

const noCosts: Costs = { one: null, sizes: new Map() };

function learn(costs: Costs, tokens: number, milliseconds: number, table: PassRatios): void {
  const { sizes } = costs;
  const known = sizes.get(tokens);
  // The first pass of each size sets up buffers, so its time does not count.
  if (!known) return void sizes.set(tokens, { ratio: between(table, tokens), count: 0 });
  known.count++;
  if (costs.one === null || tokens <= Math.min(...sizes.keys())) {
    const one = milliseconds / known.ratio;
    const before = costs.one ?? one;
    costs.one = before + Math.max(weight, 1 / known.count) * (Math.min(one, stall * before) - before);
  } else {
    // What was known before counts as one measurement.
    const share = Math.max(weight, 1 / (known.count + 1));
    known.ratio += share * (Math.min(milliseconds / costs.one, stall * known.ratio) - known.ratio);
  }
}

/**
 * Cost of a pass of this number of tokens ÷ one of a single token. A size whose measured pass was disturbed would never be tried again. So
 * its cost is at most that of a larger pass, and at most that of smaller passes with as many tokens.
 */
function ratioOf({ sizes }: Costs, tokens: number, table: PassRatios): number {
  let least = sizes.get(tokens)?.ratio ?? between(table, tokens);
  for (const [size, { ratio, count }] of sizes)
    if (count > 0) least = Math.min(least, ratio * Math.max(1, tokens / size));
  return least;
}

/** The table's value for a size: interpolated between its neighbours, or extrapolated from the last two. */
function between(table: PassRatios, tokens: number): number {
  if (table.length < 2) return tokens;
  const after = table.findIndex(([size]) => size >= tokens);
  const end = after < 0 ? table.length - 1 : Math.max(1, after);
  const [[from, low], [to, high]] = [table[end - 1]!, table[end]!];
  return low + ((high - low) * (tokens - from)) / (to - from);
}
