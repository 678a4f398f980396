/** What some GPUs would do with a run: from the model's configuration and the options; no weights and no text are read. */
import { resolve } from 'node:path';
import { userError } from '../../protocol/errors.ts';
import type { TuneEvent } from '../../protocol/events.ts';
import { placeExits } from '../../protocol/options/notations.ts';
import { meshText, ranksOf } from '../../protocol/options/place.ts';
import type { TuneOptions } from '../../protocol/options/options.ts';
import { chooseMesh, planOn, requireRunnable, usableBytes, type PlannedRun } from '../cluster/plan.ts';
import { openCheckpoint } from '../checkpoint/checkpoint.ts';
import type { ExitSpec, HeadSpec } from '../exits/spec.ts';
import { originOf, requireDense, requireTrainable } from '../cluster/trainable.ts';
import { statOf } from '../system/files.ts';
import { modelName, openModel } from '../model/open.ts';
import type { ModelSpec } from '../model/spec.ts';
import { requireReplicas } from './training/continued.ts';

/** @throws UserError for a configuration that cannot be used, and a mesh of another number of ranks, or on which nothing could run. */
export async function* plan(options: TuneOptions): AsyncGenerator<TuneEvent, void> {
  const gpus = options.plan!;
  const { mesh } = options.mesh;
  if (mesh && ranksOf(mesh) !== gpus)
    throw userError(
      'bad-argument',
      `--mesh ${meshText(mesh)} has ${ranksOf(mesh)} ranks, not ${gpus}.`,
      'Leave it out, and one is chosen.',
    );
  if (mesh && options.continuePretraining !== null) requireReplicas(mesh);
  const gguf = statOf(options.model)?.isDirectory() ? null : openedSpec(options.model);
  if (gguf !== null)
    yield {
      type: 'note',
      message: `PyTorch tunes the model that ${gguf.name} was made of${gguf.origin === null ? '' : `, ${gguf.origin}`}: the plan is of that one, in its own precision.`,
    };
  const run = plannedRun(options, gguf?.spec);
  if (mesh) requireRunnable(run, mesh);
  const chosen = mesh ? planOn(run, mesh) : chooseMesh(run, gpus);
  const tokens = options.steps === null ? null : options.steps * run.windows * run.tokens;
  yield {
    type: 'planned',
    model: modelName(resolve(options.model)),
    gpus,
    mesh: meshText(chosen.mesh),
    whole: run.whole,
    memory: chosen.memory,
    fits: chosen.total <= usableBytes,
    traffic: { ...chosen.traffic },
    hours: chosen.hours,
    runHours: tokens === null ? null : (chosen.hours * tokens) / 1e9,
  };
}

/** The run that options describe, as a plan sees it: the tokens of its shortlists do not matter. */
export function plannedRun(options: TuneOptions, spec: ModelSpec = requireTrainable(options.model)): PlannedRun {
  const listed = Math.min(options.shortlist, spec.vocabulary - 1);
  const head: HeadSpec =
    options.head === 'shortlist'
      ? { kind: 'shortlist', tokens: Array.from({ length: listed }, (_, id) => id) }
      : { kind: options.head };
  const { continuePretraining: tuned } = options;
  return {
    spec,
    exits:
      tuned === null
        ? placeExits(options.exits, spec.layers.length).map((place) => ({ ...place, head }))
        : exitsOf(tuned),
    whole: tuned !== null,
    windows: options.batchSize * options.accumulation,
    tokens: Math.min(options.sequenceLength, spec.contextLength),
    batch: options.batchSize,
    distils: options.distillation > 0,
    bytes: options.backbonePrecision === 'fast' ? 2 : 4,
  };
}

/** The shape of the model of a GGUF file, without reading its weights. @throws UserError if the file is no model. */
function openedSpec(file: string): { readonly spec: ModelSpec; readonly name: string; readonly origin: string | null } {
  const model = openModel(file);
  model.close();
  requireDense(model.spec, model.name);
  return { spec: model.spec, name: model.name, origin: originOf(file) };
}

function exitsOf(directory: string): readonly ExitSpec[] {
  const opened = openCheckpoint(directory, null);
  opened.close();
  return opened.exits;
}
