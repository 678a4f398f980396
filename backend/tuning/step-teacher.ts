/**
 * What the final exit's whole head says of the tokens that exits learn from. It depends on nothing that is trained, so it is computed once for
 * each window, and only the part of a teacher that is specific to an exit's classes again in every pass.
 */
import type { StepBatch } from '../features/features.ts';
import { finalOf } from './step-plan.ts';

/** For each position of some windows; see `teacherSums` of objective.ts. */
export interface TeacherSums {
  readonly logSum: Float32Array;
  readonly surprise: Float32Array;
}

/** Positions that are remembered: 64 MB. */
const mostPositions = 2 ** 23;

/** `compute`: the sums of one window, from its final states `[tokens, hidden]` and its targets. The oldest windows are forgotten first. */
export function rememberedSums(
  compute: (final: Float32Array, targets: Int32Array) => Promise<TeacherSums>,
): (batch: StepBatch) => Promise<TeacherSums> {
  const known = new Map<number, TeacherSums>();
  return async (batch) => {
    const { tokens, windows } = batch;
    const final = finalOf(batch);
    const width = final.length / batch.batch;
    const all = { logSum: new Float32Array(batch.batch * tokens), surprise: new Float32Array(batch.batch * tokens) };
    for (let row = 0; row < batch.batch; row++) {
      const window = windows?.[row];
      const sums =
        (window === undefined ? undefined : known.get(window)) ??
        (await compute(
          final.subarray(row * width, (row + 1) * width),
          batch.targets.subarray(row * tokens, (row + 1) * tokens),
        ));
      if (window !== undefined) known.set(window, sums);
      if (known.size * tokens > mostPositions) known.delete(known.keys().next().value!);
      all.logSum.set(sums.logSum, row * tokens);
      all.surprise.set(sums.surprise, row * tokens);
    }
    return all;
  };
}

/** The final exit's cross-entropy with the targets, summed. */
export const surpriseAt = ({ surprise }: TeacherSums, targets: Int32Array): number =>
  targets.reduce((sum, token, i) => sum + (token < 0 ? 0 : surprise[i]!), 0);

/** Token id of each target, for `targetPairs`; 0 if there is none. */
export const tokenClasses = (targets: Int32Array): Int32Array => targets.map((token) => Math.max(0, token));
