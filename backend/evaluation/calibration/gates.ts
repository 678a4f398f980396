/** Gates for thresholds that keep a promise: fitted on the tokens that chose the thresholds, and tested on those that tested them. */
import type { Promised } from '../../../protocol/options/promise.ts';
import { fitGate, opens, type Gate } from '../../decoding/leaving/gate.ts';
import {
  halvesOf,
  leastChance,
  outcomeOf,
  type Calibrated,
  type Costs,
  type ExitView,
  type Outcome,
} from './calibration.ts';

/** An exit's predictions for every token, and the states from which it made them. */
export type ExitObservations = ExitView & { readonly states: readonly Float32Array[] };

/**
 * Finds gates for the exits at which tokens leave. The first half of the tokens fits gates and puts them in the order of their gain, one
 * more at a time. The second half tests them in that order, and stops at the first with which the loss is larger, so that the promise holds
 * as without gates. Of those before it the fastest is taken. A token that a gate sends on may leave at a later exit, whose threshold was
 * not chosen for it.
 */
export function findGates(
  observed: readonly ExitObservations[],
  costs: Costs,
  promise: Promised,
  thresholds: Calibrated['thresholds'],
): Outcome & { readonly gates: Gates } {
  const { learn, test } = halvesOf(observed[0]?.states.length ?? 0);
  const outcome = (gates: Gates, range: typeof test): Outcome => {
    const gated = observed.map((view) => withGate(view, gates.get(view.exit)));
    return outcomeOf(gated, costs, promise, thresholds, range);
  };
  const none: Gates = new Map();

  const path: Gates[] = [];
  let learned = outcome(none, learn);
  for (const [k, view] of observed.entries()) {
    const threshold = thresholds[view.exit];
    if (threshold === undefined || view.isHint) continue;
    const leaves = Array.from(view.states, (_, i) => Number(!view.deferred[i] && view.confidence[i]! >= threshold));
    const gate = { ...fitGate(view.states.slice(0, learn.to), leaves), least: leastChance(costs, k, view.stages) };
    const gates: Gates = new Map([...(path.at(-1) ?? none), [view.exit, gate]]);
    const tried = outcome(gates, learn);
    if (tried.speedup <= learned.speedup || tried.loss > learned.loss) continue;
    path.push(gates);
    learned = tried;
  }

  const ungated = outcome(none, test);
  let kept = { gates: none, ...ungated };
  for (const gates of path) {
    const tested = outcome(gates, test);
    if (tested.loss > ungated.loss) break;
    if (tested.speedup > kept.speedup) kept = { gates, ...tested };
  }
  return kept;
}

type Gates = ReadonlyMap<string, Gate>;

/** The same exit with a gate, if there is one, that decides whether it is read. */
export const withGate = (view: ExitObservations, gate: Gate | undefined): ExitObservations =>
  gate ? { ...view, closed: Uint8Array.from(view.states, (state) => Number(!opens(gate, state))) } : view;
