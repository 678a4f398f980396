/** Every recipe by name. Each is loaded when it is first run: generating needs none of what tuning needs. */
import type { RecipeTable } from '../../protocol/jobs.ts';

export const recipes: RecipeTable = {
  async *tune(options, signal) {
    const { tune } = await import('./tune.ts');
    yield* tune(options, signal);
  },
  async *evaluate(options, signal) {
    const { evaluate } = await import('./evaluate.ts');
    yield* evaluate(options, signal);
  },
  async *calibrate(options, signal) {
    const { calibrate } = await import('./calibrate.ts');
    yield* calibrate(options, signal);
  },
  async *generate(options, signal) {
    const { generate } = await import('./generate.ts');
    yield* generate(options, signal);
  },
  async *doctor(options, signal) {
    const { doctor } = await import('./doctor.ts');
    yield* doctor(options, signal);
  },
};
