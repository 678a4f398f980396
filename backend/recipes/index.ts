/**
 * Every recipe by name, with the model found first. Each is loaded when it is first run: generating needs none of what tuning
 * needs.
 */
import type { RecipeTable } from '../../protocol/jobs.ts';
import { shippedModel } from '../../protocol/options-groups.ts';
import { locateModel } from './model-location.ts';

export const recipes: RecipeTable = {
  async *tune(options, signal) {
    const { isWholeRun, modelToContinue } = await import('./continued.ts');
    const named = modelToContinue(options);
    if (options.plan !== null) {
      const { plan } = await import('./plan.ts');
      return yield* plan({ ...options, model: yield* locateModel(named, signal) });
    }
    // A run that goes on knows its own model, unless another place is named.
    const isOwn = options.resume && options.model === shippedModel;
    const model = isOwn ? options.model : yield* locateModel(named, signal);
    const { defaultDirectory, lastDirectory } = await import('./tune-options.ts');
    const out = options.out ?? (options.resume ? lastDirectory(model) : defaultDirectory(model));
    const placed = { ...options, model, out };
    const run =
      options.on.kind !== 'here'
        ? (await import('./tune-elsewhere.ts')).tuneElsewhere
        : isWholeRun(placed)
          ? (await import('./pretrain.ts')).pretrain
          : (await import('./tune.ts')).tune;
    try {
      yield* run(placed, signal);
    } catch (error) {
      const { isCheckpoint } = await import('../checkpoint/checkpoint.ts');
      // A job that Slurm has still learns what it can.
      const isLost = options.on.kind !== 'slurm' && (out === null || !isCheckpoint(out));
      if (signal.aborted && isLost)
        yield { type: 'warning', message: 'Nothing is kept: the run was stopped before it learned anything.' };
      throw error;
    }
  },
  async *evaluate(options, signal) {
    const evaluate =
      options.tasks.length > 0
        ? (await import('./evaluate-tasks.ts')).evaluateTasks
        : (await import('./evaluate.ts')).evaluate;
    yield* evaluate({ ...options, model: yield* locateModel(options.model, signal) }, signal);
  },
  async *calibrate(options, signal) {
    const { calibrate } = await import('./calibrate.ts');
    yield* calibrate({ ...options, model: yield* locateModel(options.model, signal) }, signal);
  },
  async *generate(options, signal) {
    const { generate } = await import('./generate.ts');
    yield* generate({ ...options, model: yield* locateModel(options.model, signal) }, signal);
  },
  async *complete(options, signal) {
    const { complete } = await import('./complete.ts');
    yield* complete({ ...options, model: yield* locateModel(options.model, signal) }, signal);
  },
  async *serve(options, signal, inbox) {
    const { serve } = await import('./serve.ts');
    yield* serve({ ...options, model: yield* locateModel(options.model, signal) }, signal, inbox);
  },
  async *export(options, signal) {
    const { exportExit } = await import('./export.ts');
    yield* exportExit({ ...options, model: yield* locateModel(options.model, signal) }, signal);
  },
  async *import(options, signal) {
    const { importExits } = await import('./import.ts');
    yield* importExits({ ...options, model: yield* locateModel(options.model, signal) }, signal);
  },
  async *doctor(options, signal) {
    const { doctor } = await import('./doctor.ts');
    yield* doctor(options, signal);
  },
};
