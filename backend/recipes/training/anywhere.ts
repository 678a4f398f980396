/** A tuning run in any place: what is trained, in which folder, here or on PyTorch. */
import type { TuneEvent } from '../../../protocol/events.ts';
import type { TuneOptions } from '../../../protocol/options/options.ts';
import { shippedModel } from '../../../protocol/options/groups.ts';
import { locateModel } from '../opening/model-location.ts';
import { findText } from '../text.ts';

/** @throws as the recipe that runs, and UserError `busy` if a job of PyTorch is still under way in the folder of a run here. */
export async function* tuneAnywhere(options: TuneOptions, signal: AbortSignal): AsyncGenerator<TuneEvent, void> {
  const { isWholeRun, modelToContinue } = await import('./continued.ts');
  const named = modelToContinue(options);
  if (options.plan !== null) {
    const { plan } = await import('../plan.ts');
    return yield* plan({ ...options, model: yield* locateModel(named, signal) });
  }
  const { defaultDirectory, lastDirectory, noRunToResume } = await import('./options.ts');
  const { isCheckpoint } = await import('../../checkpoint/checkpoint.ts');
  const isAnyModel = options.model === shippedModel;
  const earlier = options.resume ? (options.out ?? lastDirectory(isAnyModel ? null : named)) : null;
  if (options.resume && earlier === null) throw noRunToResume();
  // A resumed run knows its own model, unless another path is given.
  const isOwn = earlier !== null && isAnyModel && isCheckpoint(earlier);
  const model = isOwn
    ? await (await import('../opening/exits-model.ts')).modelOfExits(earlier, signal)
    : yield* locateModel(named, signal, () => void (options.resume || findText(options.data)));
  const out = options.resume ? earlier : (options.out ?? defaultDirectory(named));
  const { keepLean, requireState } = await import('./lean.ts');
  if (earlier !== null && options.on.kind !== 'here') requireState(earlier);
  if (out !== null && options.on.kind === 'here') {
    const { requireNoJob } = await import('../../cluster/launch.ts');
    await requireNoJob(out);
  }
  const placed = { ...options, model, out };
  const run =
    options.on.kind !== 'here'
      ? (await import('./elsewhere.ts')).tuneElsewhere
      : isWholeRun(placed)
        ? (await import('./pretrain.ts')).pretrain
        : (await import('./tune.ts')).tune;
  try {
    const tuning = run(placed, signal);
    const written = options.tensorboard && out !== null;
    const events = written ? (await import('./tensorboard.ts')).forTensorboard(tuning, out) : tuning;
    let isTuned = false;
    for await (const event of events) {
      isTuned ||= event.type === 'tuned';
      yield event;
    }
    // A job that is still to be submitted begins with the state of the run before it.
    if (out !== null && isTuned && !signal.aborted) yield* keepLean(out, options.keepState);
  } catch (error) {
    // A job that Slurm has still learns what it can.
    const isLost = options.on.kind !== 'slurm' && (out === null || !isCheckpoint(out));
    if (signal.aborted && isLost)
      yield { type: 'warning', message: 'Nothing was saved: the run was stopped before it learned anything.' };
    throw error;
  }
}
