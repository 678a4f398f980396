/** The frozen model as recipes use it on whole windows: its states, kept on disk, and the scorers of exits. */
import { join } from 'node:path';
import type { EvaluateOptions, GenerateOptions } from '../../../protocol/options/options.ts';
import type { OpenScorer } from '../../evaluation/scores.ts';
import { exitCut } from '../../exits/architectures.ts';
import type { ExitSpec } from '../../exits/spec.ts';
import { userCache } from '../../system/user-cache.ts';
import type { Model } from '../../model/open.ts';
import { compareCuts, cutName, type Cut, type ModelSpec } from '../../model/spec.ts';
import { placeExitScorer, placeFeatureModel, placeTeacher, type Running } from '../../devices/fallback.ts';
import { ggmlVersion } from '../../devices/gpus.ts';
import type { RuntimeOptions } from '../../runtime/open.ts';
import type { FeatureModel, TeacherModel } from '../../runtime/staged-model.ts';
import { openFeatureCache, type FeatureCache } from '../../features/cache.ts';
import type { Windows } from '../../features/features.ts';

type Given = Pick<EvaluateOptions, 'precision' | 'threads'> & Partial<Pick<GenerateOptions, 'head'>>;

export const runtimeOptions = ({ precision, threads, head }: Given): RuntimeOptions => ({
  arithmetic: precision === 'fast' ? 'int8' : 'float32',
  ...(head && { head }),
  ...(threads > 0 && { threads }),
});

/** For whole windows, to learn from or to judge by: many tokens at once, and numbers that need not be decoding's to the bit. */
export const windowOptions = (given: Given): RuntimeOptions => ({
  ...runtimeOptions(given),
  ...(given.precision === 'fast' && { arithmetic: 'int8-many' as const }),
});

/** A backbone that is opened when it is first needed; `dispose` only closes it until then. */
export function lazyFeatureModel(
  model: Model,
  cuts: readonly Cut[],
  { placement, options }: Running,
  entries: readonly number[] = [],
): FeatureModel {
  const wanted = distinct(cuts);
  let opened: Promise<FeatureModel> | null = null;
  return {
    spec: model.spec,
    cuts: wanted,
    entries,
    async features(ids, batch, tokens) {
      const backbone = await (opened ??= placeFeatureModel(placement, model, wanted, options, entries));
      return backbone.features(ids, batch, tokens);
    },
    async dispose() {
      const closing = opened;
      opened = null;
      await (await closing)?.dispose();
    },
  };
}

/** The final exit's whole head for some shortlists, opened when it is first asked. */
export function lazyTeacher(
  model: Model,
  lists: readonly (readonly number[])[],
  { placement, options }: Running,
): TeacherModel {
  let opened: Promise<TeacherModel> | null = null;
  return {
    async teach(...call) {
      const teacher = await (opened ??= placeTeacher(placement, model, lists, options));
      return teacher.teach(...call);
    },
    dispose: async () => (await opened)?.dispose(),
  };
}

/**
 * What the numbers of a backbone's states follow from: its weights and configuration (the same weights compute otherwise under another),
 * the arithmetic, ggml's version, and which layers a card computes.
 */
export function backboneKey(spec: ModelSpec, sha256: string, { placement: { share }, options }: Running): string {
  const card = share === null ? null : { name: share.gpu.name, layers: share.layers };
  return JSON.stringify({ sha256, spec, arithmetic: options.arithmetic, card, ggml: ggmlVersion });
}

/** The cache of a backbone's states over some windows. Keeps no more once the device has failed: its key names the device. */
export function featureCache(spec: ModelSpec, sha256: string, windows: Windows, running: Running): FeatureCache {
  const { placement } = running;
  const { share } = placement;
  const cache = openFeatureCache({
    root: join(userCache(), 'features'),
    key: { backbone: backboneKey(spec, sha256, running), data: windows.hash, tokens: windows.tokens },
  });
  return {
    ...cache,
    write(states) {
      if (placement.share === share) cache.write(states);
    },
  };
}

export const scorers =
  (model: Model, { placement, options }: Running): OpenScorer =>
  (exit, parameters) =>
    placeExitScorer(placement, model, exit, parameters, options);

/** Exits in the order in which the stream reaches them. */
export const inStreamOrder = (exits: readonly ExitSpec[]): ExitSpec[] =>
  [...exits].sort((a, b) => compareCuts(exitCut(a), exitCut(b)));

/** Cuts in the order of the stream, each once. */
function distinct(cuts: readonly Cut[]): Cut[] {
  const byName = new Map(cuts.map((cut) => [cutName(cut), cut]));
  return [...byName.values()].sort(compareCuts);
}
