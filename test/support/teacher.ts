/** What the final exit's head says of known text, in plain loops of 64 bits: what ggml's is compared with. */
import { shortlistsOf, type ExitSpec } from '../../backend/exits/spec.ts';
import type { Parameters } from '../../backend/model/parameters.ts';
import type { ModelSpec } from '../../backend/model/spec.ts';
import type { TeacherModel } from '../../backend/runtime/staged-model.ts';
import { rememberedTeaching } from '../../backend/tuning/step/teacher.ts';
import type { Teach } from '../../backend/tuning/step/types.ts';

interface Head {
  readonly spec: Pick<ModelSpec, 'vocabulary' | 'hidden' | 'finalSoftcap'>;
  readonly parameters: Pick<Parameters, 'has' | 'values'>;
}

export function plainTeacher(
  { spec: { vocabulary, hidden, finalSoftcap }, parameters }: Head,
  lists: readonly (readonly number[])[],
): Pick<TeacherModel, 'teach'> {
  const head = parameters.values('lm_head.weight');
  const bias = parameters.has('lm_head.bias') ? parameters.values('lm_head.bias') : null;
  const logitsOf = (state: Float32Array): number[] =>
    Array.from({ length: vocabulary }, (_, id) => {
      let logit = bias ? bias[id]! : 0;
      for (let i = 0; i < hidden; i++) logit += head[id * hidden + i]! * state[i]!;
      return finalSoftcap === null ? logit : finalSoftcap * Math.tanh(logit / finalSoftcap);
    });
  return {
    async teach(final, targets) {
      const shares = lists.map(() => new Float32Array(2 * targets.length));
      const surprise = Float32Array.from(targets, (target, at) => {
        const logits = logitsOf(final.subarray(at * hidden, (at + 1) * hidden));
        const max = Math.max(...logits);
        const weights = logits.map((logit) => Math.exp(logit - max));
        const all = weights.reduce((sum, weight) => sum + weight, 0);
        for (const [i, list] of lists.entries()) {
          const listed = list.reduce((sum, id) => sum + weights[id]!, 0);
          const outside = weights.reduce((sum, weight, id) => sum + (list.includes(id) ? 0 : weight), 0);
          shares[i]!.set([Math.log(outside / all), Math.log(listed / all)], 2 * at);
        }
        return -Math.log(weights[Math.max(0, target)]! / all);
      });
      return { surprise, shares };
    },
  };
}

export function plainTeach(head: Head, exits: readonly ExitSpec[]): Teach {
  const lists = shortlistsOf(exits);
  return rememberedTeaching(plainTeacher(head, lists), lists.length);
}

/** For exits that distil nothing. */
export const noTeach: Teach = () => Promise.reject(new Error('nothing is taught here'));
