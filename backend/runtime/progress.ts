/**
 * How far the rows of some slots have come: their tokens, counters, and the invariant between them; no tensors. So it is known even if their
 * device is lost.
 */
export interface Progress {
  /** Tokens of each row that have entered the model. */
  entered: number[];
  /** The ids of those tokens, in the parts in which they entered. */
  texts: (readonly number[])[][];
  /** Tokens that a stage has run, by stage and row. */
  ran: number[][];
  /** For each row, the number of tokens up to the last one that the last stage ran without keeping its stream: these cannot be read. */
  unreadable: number[];
  /** For each row, the number of tokens up to the last one that the last stage left out, since a memory had filled it. Nor can these be read. */
  skipped: number[];
  /** For each row, the tokens that a memory has filled and that some stage has not passed yet: position → first stage behind the exit. */
  remembered: Map<number, number>[];
  /** For each row, the first position and the first stage with entries that memories filled; null if all are exact. */
  inexactFrom: (InexactFrom | null)[];
}

export interface InexactFrom {
  readonly position: number;
  readonly stage: number;
}

/** Stages, as `StagedModel` has them. */
type Stages = readonly { readonly parent: number | null }[];

/** What changes rows without running a stage. */
export interface RowChanges {
  /** Adds new tokens to a row, after its others. */
  enter(row: number, ids: ArrayLike<number>): void;
  /** At every stage, counts the tokens at the front of a row's queue that a memory has filled as run. */
  skip(row: number): void;
  /** Makes a row exact again: from the first filled token on, later stages forget what they have run, and run it in the next pass. */
  repair(row: number): void;
  /** Forgets every token of a row from `position` on. */
  truncate(row: number, position: number): void;
  /** A row becomes the first `positions` tokens of another; each stage keeps those of them that it has run. */
  copy(from: number, to: number, positions: number): void;
  /** Replaces the rows: each is an earlier row, by its number, or an empty one (null). */
  arrange(rows: readonly (number | null)[]): void;
}

/** Counts changes of rows, wherever their contents are. `trunk`: how many stages the trunk has. */
export const countChanges = (progress: Progress, stages: Stages, trunk: number): RowChanges => ({
  enter: (row, ids) => enter(progress, row, ids),
  skip: (row) => skip(progress, stages, trunk, row),
  repair: (row) => repair(progress, stages, trunk, row),
  truncate: (row, position) => truncate(progress, row, position),
  copy: (from, to, positions) => copy(progress, from, to, positions),
  arrange: (rows) => arrange(progress, rows),
});

const countsOf = ({ entered, ran, unreadable, skipped }: Progress): number[][] => [
  entered,
  ...ran,
  unreadable,
  skipped,
];

export const newProgress = (stages: Stages, rows: number): Progress => {
  const none = (): number[] => Array.from({ length: rows }, () => 0);
  return {
    entered: none(),
    texts: Array.from({ length: rows }, () => []),
    ran: stages.map(none),
    unreadable: none(),
    skipped: none(),
    remembered: Array.from({ length: rows }, () => new Map<number, number>()),
    inexactFrom: Array.from({ length: rows }, () => null),
  };
};

/** Tokens of a row that wait for a stage: its parent has run them. */
export const waiting = (progress: Progress, stages: Stages, stage: number, row: number): number => {
  const { parent } = stages[stage]!;
  const behind = parent === null ? progress.entered[row]! : progress.ran[parent]![row]!;
  return behind - progress.ran[stage]![row]!;
};

export function enter({ entered, texts }: Progress, row: number, ids: ArrayLike<number>): void {
  texts[row]!.push(Array.from(ids));
  entered[row]! += ids.length;
}

/** Whether a row's tokens from `position` on have a stream behind the last stage, or will have one when they have run there. */
export const isReadable = ({ unreadable, skipped }: Progress, row: number, position: number): boolean =>
  position >= unreadable[row]! && position >= skipped[row]!;

/** Counts a pass of a stage. @throws RangeError if it ran tokens that did not wait there. */
export function advance(progress: Progress, stages: Stages, stage: number, counts: readonly number[]): void {
  for (const [row, count] of counts.entries()) {
    const waitingTokens = waiting(progress, stages, stage, row);
    if (count < 0 || count > waitingTokens)
      throw new RangeError(`Stage ${stage} ran ${count} tokens of ${waitingTokens} in row ${row}.`);
    progress.ran[stage]![row]! += count;
  }
}

/** A memory has filled all stages from one on for a token, which the stages before it have run. */
export function fill({ remembered, inexactFrom }: Progress, row: number, position: number, stage: number): void {
  remembered[row]!.set(position, stage);
  const before = inexactFrom[row];
  inexactFrom[row] = before
    ? { position: Math.min(before.position, position), stage: Math.min(before.stage, stage) }
    : { position, stage };
}

/** Whether a memory has filled a stage for a token. */
export const isFilled = ({ remembered }: Progress, stage: number, row: number, position: number): boolean =>
  stage >= (remembered[row]!.get(position) ?? Infinity);

/**
 * The number of a row's positions, from the first one on, among which are all that have entries at a stage: those that it has run, and those
 * that a memory has filled and that wait to be counted as run. Among the latter may be some without entries.
 */
export function withEntries({ ran, remembered }: Progress, stage: number, row: number): number {
  let count = ran[stage]![row]!;
  for (const [position, first] of remembered[row]!) if (stage >= first) count = Math.max(count, position + 1);
  return count;
}

/** Counts tokens that wait for a stage as run if a memory has filled them; `trunk`: how many stages the trunk has. */
export function skip(progress: Progress, stages: Stages, trunk: number, row: number): void {
  const remembered = progress.remembered[row]!;
  if (remembered.size === 0) return;
  for (let s = 0; s < trunk; s++) {
    const ran = progress.ran[s]!;
    while (isFilled(progress, s, row, ran[row]!) && waiting(progress, stages, s, row) > 0) {
      ran[row]!++;
      if (s === trunk - 1) progress.skipped[row] = Math.max(progress.skipped[row]!, ran[row]!);
    }
  }
  const passed = progress.ran[trunk - 1]![row]!;
  for (const position of remembered.keys()) if (position < passed) remembered.delete(position);
}

/** Undoes what stages have run from the first filled token on, and what the memory filled. */
export function repair(progress: Progress, stages: Stages, trunk: number, row: number): void {
  const { ran, unreadable, skipped, remembered, inexactFrom } = progress;
  const from = inexactFrom[row];
  if (!from) return;
  // A branch is numbered behind the trunk; it saw filled entries only if the stage that it leaves did.
  const sawFilled = (s: number): boolean => (s < trunk ? s : stages[s]!.parent!) >= from.stage;
  for (const [s, counts] of ran.entries()) if (sawFilled(s)) counts[row] = Math.min(counts[row]!, from.position);
  unreadable[row] = Math.min(unreadable[row]!, from.position);
  skipped[row] = 0;
  remembered[row]!.clear();
  inexactFrom[row] = null;
}

export function truncate(progress: Progress, row: number, position: number): void {
  const text = progress.texts[row]!;
  for (let left = progress.entered[row]! - position; left > 0;) {
    const part = text.pop()!;
    if (part.length > left) text.push(part.slice(0, part.length - left));
    left -= part.length;
  }
  for (const counts of countsOf(progress)) counts[row] = Math.min(counts[row]!, position);
  for (const each of progress.remembered[row]!.keys()) if (each >= position) progress.remembered[row]!.delete(each);
  if ((progress.inexactFrom[row]?.position ?? -1) >= position) progress.inexactFrom[row] = null;
}

/** Replaces the rows: each is an earlier row, by its number, or an empty one (null). */
export function arrange(progress: Progress, rows: readonly (number | null)[]): void {
  const arranged = (counts: readonly number[]): number[] => rows.map((row) => (row === null ? 0 : counts[row]!));
  progress.entered = arranged(progress.entered);
  progress.texts = rows.map((row) => (row === null ? [] : progress.texts[row]!));
  progress.ran = progress.ran.map(arranged);
  progress.unreadable = arranged(progress.unreadable);
  progress.skipped = arranged(progress.skipped);
  progress.remembered = rows.map((row) => (row === null ? new Map<number, number>() : progress.remembered[row]!));
  progress.inexactFrom = rows.map((row) => (row === null ? null : progress.inexactFrom[row]!));
}

/** Row `to` becomes the first `positions` of row `from`. */
export function copy(progress: Progress, from: number, to: number, positions: number): void {
  for (const counts of countsOf(progress)) counts[to] = counts[from]!;
  progress.texts[to] = [...progress.texts[from]!];
  progress.remembered[to] = new Map(progress.remembered[from]);
  progress.inexactFrom[to] = progress.inexactFrom[from]!;
  truncate(progress, to, positions);
}
