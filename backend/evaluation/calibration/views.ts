/** Calibration tokens as each exit sees them: alone, with the text's hints, and with the hints that it trusts. Pure. */
import type { MeasuredCosts } from '../../decoding/drafts/costs.ts';
import type { Position } from '../../decoding/leaving/observe.ts';
import type { ExitPoint } from '../../runtime/staged-model.ts';
import type { Costs, ExitView } from './calibration.ts';
import type { ExitObservations } from './gates.ts';
import type { HintedView } from './hints.ts';
import { millisecondsOfTrust, type FittedTrust } from './trust.ts';

export type HintedObservations = ExitObservations & HintedView;

/** Exits, and clear hints of the text at some of them as exits of their own, in the order of the stream. */
export interface Views {
  readonly views: readonly ExitObservations[];
  readonly costs: Costs;
  readonly layers: readonly number[];
}

/** Each exit's predictions for every token of these texts, one text after the other. */
export function viewsOf(
  exits: readonly { readonly id: string; readonly stages: number }[],
  written: readonly Position[],
): HintedObservations[] {
  return exits.slice(0, -1).map(({ id, stages }, k) => ({
    exit: id,
    stages,
    regret: written.map(({ observations }) => observations[k]!.regret),
    confidence: written.map(({ observations }) => observations[k]!.confidence),
    deferred: written.map(({ observations }) => Number(observations[k]!.token < 0)),
    agreements: written.map(({ observations }) => observations[k]!.agreement),
    states: written.map(({ observations }) => observations[k]!.state),
  }));
}

/** With the hints that exits trust: each is known before its exit's head is read. */
export function viewsWith(
  trust: readonly FittedTrust[],
  observed: readonly ExitObservations[],
  costs: MeasuredCosts & Required<Pick<Costs, 'damages'>>,
  points: readonly ExitPoint[],
): Views {
  const all = observed.flatMap((view, k) => {
    const hint = trust.find(({ exit }) => exit === view.exit);
    const [reading, fill, damage, { layer }] = [costs.readings[k]!, costs.fills[k]!, costs.damages[k]!, points[k]!];
    const own = { view, reading, fill, damage, layer };
    return hint ? [{ ...own, view: hint.view, reading: millisecondsOfTrust }, own] : [own];
  });
  return {
    views: all.map(({ view }) => view),
    costs: {
      ...costs,
      readings: [...all.map(({ reading }) => reading), costs.readings.at(-1)!],
      fills: all.map(({ fill }) => fill),
      damages: all.map(({ damage }) => damage),
    },
    layers: [...all.map(({ layer }) => layer), points.at(-1)!.layer],
  };
}

/** The layer behind which a token leaves, on average; `layers`: of each view, and of the whole model. */
export function meanLayer(
  layers: readonly number[],
  views: readonly ExitView[],
  thresholds: Readonly<Record<string, number>>,
  tokens: number,
): number {
  const last = layers.at(-1)!;
  let sum = 0;
  for (let i = 0; i < tokens; i++) {
    const k = views.findIndex(
      (v) => v.exit in thresholds && !v.closed?.[i] && !v.deferred[i] && v.confidence[i]! >= thresholds[v.exit]!,
    );
    sum += k === -1 ? last : layers[k]!;
  }
  return tokens ? sum / tokens : last;
}
