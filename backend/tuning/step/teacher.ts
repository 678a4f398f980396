/**
 * What exits are taught of the windows that they learn from. It depends on nothing that is trained, so the final exit's whole head reads each
 * window once, for the fit and for all updates.
 */
import type { Teaching, TeacherModel } from '../../runtime/staged-model.ts';
import { finalOf } from './plan.ts';
import type { Teach } from './types.ts';

/** Positions that are remembered: 50 MB with one list. */
const mostPositions = 2 ** 22;

/** `lists`: how many the teacher knows. Windows without targets are not read; the oldest windows are forgotten first. */
export function rememberedTeaching({ teach }: Pick<TeacherModel, 'teach'>, lists: number): Teach {
  const known = new Map<number, Teaching>();
  return async (batch) => {
    const { tokens, windows } = batch;
    const final = finalOf(batch);
    const width = final.length / batch.batch;
    const positions = batch.batch * tokens;
    const surprise = new Float32Array(positions);
    const shares = Array.from({ length: lists }, () => new Float32Array(2 * positions));
    for (let row = 0; row < batch.batch; row++) {
      const targets = batch.targets.subarray(row * tokens, (row + 1) * tokens);
      if (targets.every((token) => token < 0)) continue;
      const window = windows?.[row];
      const own =
        (window === undefined ? undefined : known.get(window)) ??
        (await teach(final.subarray(row * width, (row + 1) * width), targets));
      if (window !== undefined) known.set(window, own);
      if (known.size * tokens > mostPositions) known.delete(known.keys().next().value!);
      surprise.set(own.surprise, row * tokens);
      for (const [i, share] of own.shares.entries()) shares[i]!.set(share, 2 * row * tokens);
    }
    return { surprise, shares };
  };
}

/** The final exit's cross-entropy with the targets, summed. */
export const surpriseAt = ({ surprise }: Teaching, targets: Int32Array): number =>
  targets.reduce((sum, token, i) => sum + (token < 0 ? 0 : surprise[i]!), 0);
