/**
 * Every recipe by name, with the model found first. Each is loaded when it is first run: generating needs none of what tuning
 * needs.
 */
import type { RecipeTable } from '../../protocol/jobs.ts';
import { readInfo } from '../checkpoint/checkpoint.ts';
import { locateModel } from './opening/model-location.ts';

/** The model; it is not downloaded if its exits cannot be read, nor if `check` throws. */
const locate = (
  { model, exits }: { readonly model: string; readonly exits: string | null },
  signal: AbortSignal,
  check: () => unknown = () => undefined,
): ReturnType<typeof locateModel> =>
  locateModel(model, signal, () => {
    if (exits !== null) readInfo(exits);
    check();
  });

async function textFinder({ data }: { readonly data: readonly string[] }): Promise<() => unknown> {
  const { findText } = await import('./text.ts');
  return () => findText(data);
}

export const recipes: RecipeTable = {
  async *tune(options, signal) {
    const { tuneAnywhere } = await import('./training/anywhere.ts');
    yield* tuneAnywhere(options, signal);
  },
  async *evaluate(options, signal) {
    const [evaluate, check] =
      options.tasks.length > 0
        ? [(await import('./evaluate-tasks.ts')).evaluateTasks, () => undefined]
        : [(await import('./evaluate.ts')).evaluate, await textFinder(options)];
    yield* evaluate({ ...options, model: yield* locate(options, signal, check) }, signal);
  },
  async *sweep(options, signal) {
    const { sweep } = await import('./sweep.ts');
    yield* sweep(options, signal);
  },
  async *report(options, signal) {
    const { report } = await import('./report.ts');
    yield* report(options, signal);
  },
  async *calibrate(options, signal) {
    const { calibrate, requireExits } = await import('./calibrate.ts');
    requireExits(options);
    yield* calibrate({ ...options, model: yield* locate(options, signal, await textFinder(options)) }, signal);
    if (options.exits !== null && !signal.aborted)
      yield* (await import('./training/lean.ts')).keepLean(options.exits, options.keepState);
  },
  async *generate(options, signal) {
    const { generate } = await import('./generate.ts');
    yield* generate({ ...options, model: yield* locate(options, signal) }, signal);
  },
  async *complete(options, signal) {
    const { complete } = await import('./complete.ts');
    yield* complete(
      { ...options, model: yield* locate({ ...options, exits: options.generate.exits }, signal) },
      signal,
    );
  },
  async *serve(options, signal, inbox) {
    const { serve } = await import('./serving/serve.ts');
    yield* serve({ ...options, model: yield* locate(options, signal) }, signal, inbox);
  },
  async *export(options, signal) {
    const { exportExit } = await import('./export.ts');
    yield* exportExit({ ...options, model: yield* locate(options, signal) }, signal);
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
