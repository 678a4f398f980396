/** How far the rows of some slots have come: counters and the invariant between them, no tensors. */
import type { StageSpec } from './staged-model.ts';

export interface Progress {
  /** Tokens of each row that have entered the model. */
  entered: number[];
  /** Tokens that a stage has run, by stage and row. */
  filled: number[][];
  /** Tokens of each row from the first on, of which some have no stream behind the last stage. */
  unheard: number[];
}

const countsOf = ({ entered, filled, unheard }: Progress): number[][] => [entered, ...filled, unheard];

export const newProgress = (stages: readonly StageSpec[], rows: number): Progress => {
  const none = (): number[] => Array.from({ length: rows }, () => 0);
  return { entered: none(), filled: stages.map(none), unheard: none() };
};

/** Tokens of a row that wait for a stage: its parent has run them. */
export const waiting = (progress: Progress, stages: readonly StageSpec[], stage: number, row: number): number => {
  const { parent } = stages[stage]!;
  const behind = parent === null ? progress.entered[row]! : progress.filled[parent]![row]!;
  return behind - progress.filled[stage]![row]!;
};

/** Whether the last token of a row has a stream behind the last stage, or will have one when it has run there. */
export const isHeard = ({ entered, unheard }: Progress, row: number): boolean => entered[row]! > unheard[row]!;

/** Counts a pass of a stage. @throws RangeError where it ran tokens that did not wait there. */
export function advance(
  progress: Progress,
  stages: readonly StageSpec[],
  stage: number,
  counts: readonly number[],
): void {
  for (const [row, count] of counts.entries()) {
    const there = waiting(progress, stages, stage, row);
    if (count < 0 || count > there)
      throw new RangeError(`Stage ${stage} ran ${count} tokens of ${there} in row ${row}.`);
    progress.filled[stage]![row]! += count;
  }
}

export function truncate(progress: Progress, row: number, position: number): void {
  for (const counts of countsOf(progress)) counts[row] = Math.min(counts[row]!, position);
}

/** The rows become these of before; null: an empty one. */
export function arrange(progress: Progress, rows: readonly (number | null)[]): void {
  const arranged = (counts: readonly number[]): number[] => rows.map((row) => (row === null ? 0 : counts[row]!));
  progress.entered = arranged(progress.entered);
  progress.filled = progress.filled.map(arranged);
  progress.unheard = arranged(progress.unheard);
}

/** Row `to` becomes the first `positions` of row `from`. */
export function copy(progress: Progress, from: number, to: number, positions: number): void {
  for (const counts of countsOf(progress)) counts[to] = Math.min(counts[from]!, positions);
}
