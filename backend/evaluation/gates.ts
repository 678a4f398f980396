/** Gates for thresholds that keep a promise: fitted where those were chosen, and tested where those were tested. */
import { fitGate, opens, type Gate } from '../decoding/gate.ts';
import { leastChance, outcomeOf, type Calibrated, type Costs, type ExitView } from './calibration.ts';

/** What an exit said of every token, and the states it said it of. */
export type Heard = ExitView & { readonly states: readonly Float32Array[] };

/**
 * Gates of exits that are left at, fitted on the first half of the tokens and kept where the second half gains by them and agrees no
 * less: a token that a gate sends on may leave at a later exit, whose threshold was not set for it.
 */
export function findGates(
  heard: readonly Heard[],
  final: readonly number[],
  costs: Costs,
  thresholds: Calibrated['thresholds'],
): Pick<Calibrated, 'agreement'> & { readonly gates: ReadonlyMap<string, Gate> } {
  const gates = new Map<string, Gate>();
  const half = Math.floor(final.length / 2);
  const outcome = (tried: ReadonlyMap<string, Gate>): ReturnType<typeof outcomeOf> =>
    outcomeOf(
      heard.map((view) => withGate(view, tried.get(view.exit))),
      final,
      costs,
      thresholds,
    );
  let kept = outcome(gates);
  for (const [k, view] of heard.entries()) {
    const threshold = thresholds[view.exit];
    if (threshold === undefined) continue;
    const leaves = Array.from(view.states, (_, i) => Number(!view.deferred[i] && view.confidence[i]! >= threshold));
    const gate = { ...fitGate(view.states.slice(0, half), leaves), least: leastChance(costs, k, view.stages) };
    const tried = outcome(new Map([...gates, [view.exit, gate]]));
    if (tried.speedup <= kept.speedup || tried.agreement < kept.agreement) continue;
    gates.set(view.exit, gate);
    kept = tried;
  }
  return { gates, agreement: kept.agreement };
}

/** The same exit where the gate, if any, decides whether it is read. */
export const withGate = (view: Heard, gate: Gate | undefined): Heard =>
  gate ? { ...view, closed: Uint8Array.from(view.states, (state) => Number(!opens(gate, state))) } : view;
