/**
 * A whole model in training: its values under the names of its own files, the model that they make, its held-out scores, and its best
 * values on disk.
 */
import type { ExitScore } from '../../../protocol/events.ts';
import type { Progress } from '../../checkpoint/checkpoint.ts';
import { isOfExit, writeBest } from '../../checkpoint/continued.ts';
import { openHeldOut } from '../../evaluation/scores.ts';
import type { ExitParameter } from '../../exits/parameters.ts';
import { exitCut } from '../../exits/architectures.ts';
import { exitId, type ExitSpec } from '../../exits/spec.ts';
import { featureSource, type Windows } from '../../features/features.ts';
import { dequantise } from '../../formats/dequantise.ts';
import { bytesOf, elementCount, type TensorData } from '../../formats/safetensors.ts';
import { expectedParameters } from '../../model/expected-parameters.ts';
import type { Model } from '../../model/open.ts';
import { overlayParameters, type ParameterValues } from '../../model/overlay.ts';
import { parameterPlaces, type ParameterPlace } from '../../model/sources.ts';
import { finalCut } from '../../model/spec.ts';
import { takeParameter, type StoredValues } from '../../model/stored-values.ts';
import type { Keeping } from '../../tuning/best.ts';
import { lazyFeatureModel, scorers } from '../opening/backbone.ts';
import type { Running } from '../../devices/fallback.ts';

export interface Whole {
  readonly model: Model;
  /** The places of our parameters in the model's files. */
  readonly places: Readonly<Record<string, ParameterPlace>>;
  /** Of every trained tensor, by the names of the files, and of the exits' parameters. */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
}

/** `exits`: the parameters of the model's exits. */
export function openWhole(model: Model, exits: readonly ExitParameter[]): Whole {
  const names = expectedParameters(model.spec).map(({ name }) => name);
  const places = parameterPlaces(
    model.path,
    names.filter((name) => model.parameters.has(name)),
  );
  const tensors = new Set(Object.values(places).flatMap(({ tensors }) => tensors));
  const shapes = new Map([...tensors].map((name) => [name, model.stored.tensors.tensors.get(name)!.shape]));
  for (const { name, shape } of exits) shapes.set(name, shape);
  return { model, places, shapes };
}

/** How many numbers are trained. */
export const trainedNumbers = ({ shapes }: Whole): number =>
  [...shapes.values()].reduce((sum, shape) => sum + elementCount(shape), 0);

/** What of the model is trained, as its files have it. */
export function storedValues({ model, shapes }: Whole): Map<string, Float32Array> {
  const source = model.stored.tensors;
  const own = [...shapes.keys()].filter((name) => !isOfExit(name));
  return new Map(
    own.map((name) => {
      const tensor = source.tensors.get(name)!;
      return [name, dequantise(tensor.type, source.read(tensor), elementCount(tensor.shape))];
    }),
  );
}

/** The model that some values make, in memory. */
function withValues({ model, places }: Whole, values: StoredValues): Model {
  const overlay = Object.entries(places).map(([name, place]): [string, ParameterValues] => {
    const shape = model.parameters.shape(name);
    return [name, { shape, data: takeParameter(place, shape, values) }];
  });
  return { ...model, parameters: overlayParameters(model.parameters, new Map(overlay)) };
}

/** Held-out scores of given values, of the exits and the final one, by the engine with which other commands evaluate. */
export async function scoresOf(
  whole: Whole,
  values: StoredValues,
  exits: readonly ExitSpec[],
  windows: Windows,
  running: Running,
  batch: number,
): Promise<ExitScore[]> {
  const model = withValues(whole, values);
  const backbone = lazyFeatureModel(model, [...exits.map(exitCut), finalCut(model.spec)], running);
  try {
    const source = featureSource({ model: backbone, windows, cache: null });
    const openScorer = scorers(model, running);
    const heldOut = await lastOf(openHeldOut({ spec: model.spec, source, exits, openScorer, batch }));
    const own = [...whole.shapes].filter(([name]) => isOfExit(name));
    const exitParameters = new Map(own.map(([name, shape]) => [name, { shape, data: values.get(name)! }]));
    return [...(await lastOf(heldOut.evaluate(exitParameters))).scores];
  } finally {
    await backbone.dispose();
  }
}

/** What a generator answers in the end. */
async function lastOf<T>(steps: AsyncGenerator<unknown, T>): Promise<T> {
  for (;;) {
    const next = await steps.next();
    if (next.done) return next.value;
  }
}

/** The loss by which model and exits are kept together: the mean of the held-out losses of all exits and of the final one. */
export const wholeLoss = (scores: readonly ExitScore[]): number =>
  scores.reduce((sum, { loss }) => sum + loss, 0) / scores.length;

/** `saved`: what is on disk at first. */
export function wholeKeeping(whole: Whole, exits: readonly ExitSpec[], saved: Progress): Keeping {
  let best = wholeLoss(saved.scores);
  return {
    loss: wholeLoss,
    keep({ directory }, parameters, now) {
      const loss = wholeLoss(now.scores);
      // Not `>=`: a loss that is no number is never better.
      if (!(loss < best)) return;
      best = loss;
      const origins = Object.fromEntries(exits.map((exit) => [exitId(exit), now.step]));
      writeBest(directory, tensorsOf(whole, parameters), { ...now, origins });
    },
  };
}

/** Every tensor of the model's files with the current values of the trained ones, and the exits' parameters. */
export function tensorsOf({ model, shapes, places }: Whole, values: StoredValues): TensorData[] {
  const { spec, stored } = model;
  const source = stored.tensors;
  // A file may have the embedding once more as the head that is tied to it.
  const head = spec.tied ? stored.place('lm_head.weight') : null;
  const twins = new Set(head ? [head.tensor, ...(head.aliases ?? [])] : []);
  const own = [...source.tensors.values()].map((tensor): TensorData => {
    const { name, shape, type } = tensor;
    const trained = shapes.has(name) ? name : twins.has(name) ? places['embed_tokens.weight']!.tensors[0]! : null;
    if (trained === null) return { name, type, shape, bytes: source.read(tensor) };
    return { name, type: 'F32', shape, bytes: bytesOf(values.get(trained)!) };
  });
  const exits = [...shapes].filter(([name]) => isOfExit(name));
  return [
    ...own,
    ...exits.map(([name, shape]): TensorData => ({ name, type: 'F32', shape, bytes: bytesOf(values.get(name)!) })),
  ];
}
