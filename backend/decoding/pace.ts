/**
 * What things cost on this machine and how often drafts are right, learned while decoding. Decides how many tokens are
 * worth drafting: only speed depends on it, never the text.
 */
import { newCredit, type Credit } from './credit.ts';
import { branchOf, stageLayers, type StagedModel } from '../runtime/staged-model.ts';

export interface Pace {
  /** A pass of a stage (or, as stage −1 − k, a reading of exit k) over so many tokens took so long. */
  measured(stage: number, tokens: number, milliseconds: number): void;
  /** Expected milliseconds of stages `[from, to)` over `tokens` tokens in one pass. */
  stages(from: number, to: number, tokens: number): number;
  /** Expected milliseconds of reading exit k for `tokens` tokens, its branch included. */
  reading(k: number, tokens: number): number;
  /** So many tokens were decided, their drafts made and verified, in so many milliseconds. */
  decided(tokens: number, milliseconds: number): void;
  /** Expected milliseconds a token, which a right draft saves; `unknown` where none was decided yet. */
  perToken(unknown: number): number;
  /** A draft of this kind was right, or not. */
  judged(kind: string, accepted: boolean): void;
  /** Expected share of right drafts of this kind. */
  acceptance(kind: string): number;
  /** What so many more tokens (a chance, where one is drafted) that save so much each are worth; above 0 they pay. */
  gain(tokens: number, saved: number, spent: number): number;
  /** Which exits are worth reading for drafts. */
  readonly drafters: Credit;
}

/** Before anything was measured: a further token in a pass costs this share of the first. */
const priorShare = 0.15;
/** Before any was judged, drafts are right as often as not. */
const priorRate = 0.5;
/** New measurements count at least this much; of the first few, all count the same. */
const weight = 0.1;
/** A token's time differs from token to token, so each counts little. */
const tokenWeight = 0.02;
/** A stalled machine is no measurement. */
const stall = 4;

export function newPace(model: StagedModel): Pace {
  const rates = new Map<string, number>();
  const layersOf = model.stages.map(stageLayers);
  const branches = model.exits.map(branchOf);
  const drafters = newCredit();
  let tokenTime: number | null = null;
  /** Milliseconds a layer, so that nothing measured yet is at least in proportion. */
  let perLayer = 1;
  const costs = new Map<number, Costs>();
  const cost = (stage: number, tokens: number): number =>
    expected(costs.get(stage), tokens) ?? perLayer * (stage >= 0 ? layersOf[stage]! : 1) * growth(tokens, 1);

  return {
    measured(stage, tokens, milliseconds) {
      const sizes = costs.get(stage) ?? (new Map() as Costs);
      costs.set(stage, sizes);
      learn(sizes, tokens, milliseconds);
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
      // Tokens of one pass come together: each weighs.
      if (tokenTime === null) tokenTime = each;
      else tokenTime += (1 - (1 - tokenWeight) ** tokens) * (Math.min(each, stall * tokenTime) - tokenTime);
    },
    perToken: (unknown) => tokenTime ?? unknown,
    judged(kind, accepted) {
      const known = rates.get(kind) ?? priorRate;
      rates.set(kind, known + weight * (Number(accepted) - known));
    },
    acceptance: (kind) => rates.get(kind) ?? priorRate,
    gain: (tokens, saved, spent) => tokens * saved - spent,
  };
}

/** Passes of one stage, by how many tokens they had. */
type Costs = Map<number, { milliseconds: number; count: number }>;

function learn(sizes: Costs, tokens: number, milliseconds: number): void {
  const known = sizes.get(tokens);
  // The first pass of each size sets up buffers: that it was there is all it says.
  if (!known || known.count === 0) {
    sizes.set(tokens, { milliseconds, count: known ? 1 : 0 });
    return;
  }
  known.count++;
  const share = Math.max(weight, 1 / known.count);
  known.milliseconds += share * (Math.min(milliseconds, stall * known.milliseconds) - known.milliseconds);
}

/**
 * What so many tokens should cost; undefined where nothing is known. A pass that stalled would never be tried again, so its own
 * measurements are not all: it is no dearer than a larger pass was, nor than smaller ones for as many tokens.
 */
function expected(sizes: Costs | undefined, tokens: number): number | undefined {
  let least = Infinity;
  let below = 0;
  for (const [size, { milliseconds, count }] of sizes ?? []) {
    if (count === 0) continue;
    least = Math.min(least, milliseconds * Math.max(1, tokens / size));
    if (size < tokens) below = Math.max(below, size);
  }
  const isKnown = (sizes?.get(tokens)?.count ?? 0) > 0;
  if (below > 0 && !isKnown) least = Math.min(least, sizes!.get(below)!.milliseconds * growth(tokens, below));
  return Number.isFinite(least) ? least : undefined;
}

/** A pass of so many tokens ÷ one of fewer, before it was measured. */
const growth = (tokens: number, fewer: number): number =>
  (1 + priorShare * (tokens - 1)) / (1 + priorShare * (fewer - 1));
