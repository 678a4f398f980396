/**
 * What things cost on this machine and how often drafts are right, learned while decoding. Decides how many tokens are
 * worth drafting: only speed depends on it, never the text.
 */
import type { StagedModel } from '../runtime/staged-model.ts';

export interface Pace {
  /** A pass of a stage (or, as stage −1 − k, a reading of exit k) over so many tokens took so long. */
  measured(stage: number, tokens: number, milliseconds: number): void;
  /** Expected milliseconds of stages `[from, to)` over `tokens` tokens in one pass. */
  stages(from: number, to: number, tokens: number): number;
  /** Expected milliseconds of reading exit k for `tokens` tokens. */
  reading(k: number, tokens: number): number;
  /** A draft of this kind was right, or not. */
  judged(kind: string, accepted: boolean): void;
  /** Expected share of right drafts of this kind. */
  acceptance(kind: string): number;
  /** What a chance of saving so many milliseconds for so many is worth; above 0 it pays. */
  gain(chance: number, saved: number, spent: number): number;
}

/** Before anything was measured: a further token in a pass costs this share of the first. */
const priorShare = 0.15;
/** Before any was judged, drafts are right as often as not. */
const priorRate = 0.5;
/** New measurements count this much. */
const weight = 0.1;
/** A stalled machine is no measurement. */
const stall = 4;

export function newPace(model: StagedModel): Pace {
  const costs = new Map<string, number>();
  const rates = new Map<string, number>();
  const layersOf = model.stages.map(({ from, to }) => Math.max(0.5, to.layer - from.layer));
  /** Milliseconds a layer, so that nothing measured yet is at least in proportion. */
  let perLayer = 1;

  const cost = (stage: number, tokens: number): number => {
    const known = costs.get(`${stage}/${tokens}`);
    if (known !== undefined) return known;
    for (let distance = 1; distance <= 64; distance++) {
      for (const near of [tokens - distance, tokens + distance]) {
        const measured = costs.get(`${stage}/${near}`);
        if (measured !== undefined) return (measured * (1 + priorShare * (tokens - 1))) / (1 + priorShare * (near - 1));
      }
    }
    return perLayer * (stage >= 0 ? layersOf[stage]! : 1) * (1 + priorShare * (tokens - 1));
  };

  return {
    measured(stage, tokens, milliseconds) {
      const key = `${stage}/${tokens}`;
      const known = costs.get(key);
      costs.set(
        key,
        known === undefined ? milliseconds : known + weight * (Math.min(milliseconds, stall * known) - known),
      );
      if (stage >= 0 && tokens === 1) perLayer += weight * (milliseconds / layersOf[stage]! - perLayer);
    },
    stages(from, to, tokens) {
      let total = 0;
      for (let s = from; s < to; s++) total += cost(s, tokens);
      return total;
    },
    reading: (k, tokens) => cost(-1 - k, tokens),
    judged(kind, accepted) {
      const known = rates.get(kind) ?? priorRate;
      rates.set(kind, known + weight * (Number(accepted) - known));
    },
    acceptance: (kind) => rates.get(kind) ?? priorRate,
    gain: (chance, saved, spent) => chance * saved - spent,
  };
}
