/** The cuts of a model with exits: its stages, their branches, and what each exit reads. Knows no weights and no runtime. */
import { exitCut, hasBranch } from '../exits/architectures.ts';
import { exitId, type ExitSpec } from '../exits/spec.ts';
import type { ParameterValues } from '../model/overlay.ts';
import { compareCuts, finalCut, inputCut, type Cut, type ModelSpec } from '../model/spec.ts';
import type { ExitPoint, StageSpec } from './staged-model.ts';

/** Tuned exits as they are read from a checkpoint. */
export interface ExitSet {
  readonly specs: readonly ExitSpec[];
  readonly parameters: ReadonlyMap<string, ParameterValues>;
  /** Of the model's tokenizer: see readouts/spellings.ts. Without it, an exit reads none of its guess's other spellings. */
  readonly spellings?: (token: number) => readonly number[];
  /** Whether exits also score the common tokens that their shortlists lack: readouts/common.ts. */
  readonly readsCommon?: boolean;
}

export const noExits: ExitSet = { specs: [], parameters: new Map() };

/** The exits that are wanted, by id. A model is cut at its exits, and every cut costs. */
export const onlyExits = <T extends ExitSet>(exits: T, isWanted: (exit: string) => boolean): T => ({
  ...exits,
  specs: exits.specs.filter((exit) => isWanted(exitId(exit))),
});

/** A stage of a model with exits: of its trunk, or the branch of an exit. */
export interface TreeStage extends Pick<StageSpec, 'parent' | 'from' | 'to'> {
  readonly exit: ExitSpec | null;
}

/**
 * A model's trunk, cut at its exits (in the order of the stream) and at other requested cuts; the branches behind it; and what each exit
 * reads.
 */
export function stageTree(
  spec: ModelSpec,
  exits: readonly ExitSpec[],
  others: readonly Cut[] = [],
): { stages: TreeStage[]; points: ExitPoint[] } {
  const cuts = distinctCuts([...exits.map(exitCut), ...others, finalCut(spec)]);
  const stages = cuts.map((to, s): TreeStage => ({
    parent: s === 0 ? null : s - 1,
    from: cuts[s - 1] ?? inputCut,
    to,
    exit: null,
  }));
  const points = [...exits, null].map((exit): ExitPoint => {
    const cut = exit ? exitCut(exit) : finalCut(spec);
    const last = cuts.findIndex((c) => compareCuts(c, cut) === 0);
    const branches = exit !== null && hasBranch(exit);
    if (branches) stages.push({ parent: last, from: cut, to: cut, exit });
    return {
      id: exit ? exitId(exit) : 'final',
      layer: exit?.layer ?? spec.layers.length,
      stages: last + 1,
      reads: branches ? stages.length - 1 : last,
      spec: exit,
      remembers: false,
      readsUnlisted: false,
    };
  });
  return { stages, points };
}

export function distinctCuts(cuts: readonly Cut[]): Cut[] {
  const sorted = [...cuts].sort(compareCuts);
  return sorted.filter((cut, i) => i === 0 || compareCuts(cut, sorted[i - 1]!) !== 0);
}
