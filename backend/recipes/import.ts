/**
 * Makes a checkpoint of exits that were not tuned here: those of a model that was trained to leave early with its own norm and head
 * (LayerSkip, arXiv 2404.16710), which have no parameters of their own, so that each norm is a copy; or an exit that `export` wrote.
 */
import { basename } from 'node:path';
import { userError } from '../../protocol/errors.ts';
import type { ExportEvent } from '../../protocol/events.ts';
import type { ImportOptions } from '../../protocol/options/options.ts';
import type { BaseModel } from '../checkpoint/checkpoint.ts';
import { createCheckpoint } from '../checkpoint/writer.ts';
import { exitParameters } from '../exits/parameters.ts';
import type { ExitSpec } from '../exits/spec.ts';
import { takeBack, type TakenBack } from '../export/taken-back.ts';
import { statOf } from '../system/files.ts';
import { openModel, type Model } from '../model/open.ts';
import type { ExitSet } from '../runtime/open.ts';
import { measureAgreement } from './calibrating/agreement.ts';
import { identify } from './opening/opened.ts';
import { modelText } from './training/options.ts';

/** @throws UserError for layers that the model does not have, a plain model of another base, and a folder that exists. */
export async function* importExits(options: ImportOptions, signal: AbortSignal): AsyncGenerator<ExportEvent, void> {
  yield { type: 'phase', phase: 'load', detail: options.model };
  const model = openModel(options.model);
  try {
    const out = options.out ?? `${basename(model.name).replace(/\.gguf$/i, '')}.exits`;
    if (statOf(out) !== null)
      throw userError('bad-argument', `${out} is there already.`, 'Give another folder with --out, or remove it.');
    const base = await identify(model, signal);
    const { changes = [], ...set } =
      options.from === null ? trainedExits(model, options.layers) : exported(model, base, options.from);
    for (const message of changes) yield { type: 'warning', message };
    yield { type: 'phase', phase: 'save', detail: out };
    writeExits(out, base, set, options.model);
    if (options.from === null) yield* measureAgreement(model, set, signal);
    yield { type: 'saved', path: out, files: ['exits.json', 'exits.safetensors'] };
  } finally {
    model.close();
  }
}

type Taken = ExitSet & { readonly changes?: TakenBack['changes'] };

/** Exits that read with the model's own norm and head. */
function trainedExits({ spec, parameters }: Model, layers: readonly number[]): Taken {
  const depth = spec.layers.length;
  const wrong = layers.find((layer) => layer >= depth);
  if (wrong !== undefined)
    throw userError('bad-argument', `The model has ${depth} layers: there is no exit after layer ${wrong}.`);
  const specs = layers.map((layer): ExitSpec => ({ layer, architecture: 'norm', head: { kind: 'shared' } }));
  const own = specs.flatMap((exit) => exitParameters(spec, exit, parameters));
  return {
    specs,
    parameters: new Map(own.map(({ name, shape, source }) => [name, { shape, data: parameters.values(source!) }])),
  };
}

function exported(model: Model, { sha256 }: BaseModel, from: string): Taken {
  const plain = openModel(from);
  try {
    const { exit, parameters, changes } = takeBack(model, sha256, plain);
    return { specs: [exit], parameters, changes };
  } finally {
    plain.close();
  }
}

function writeExits(out: string, base: BaseModel, { specs, parameters }: ExitSet, model: string): void {
  const values = new Map([...parameters].map(([name, { data }]) => [name, data]));
  const zeros = new Map([...values].map(([name, { length }]) => [name, new Float32Array(length)]));
  createCheckpoint(out, {
    info: { base, exits: specs, tuning: { model: modelText(model) }, calibration: null },
    shapes: new Map([...parameters].map(([name, { shape }]) => [name, shape])),
    state: { updates: 0, parameters: values, firstMoments: zeros, secondMoments: zeros },
    progress: { step: 0, tokens: 0, scores: [] },
    position: { step: 0, windows: 0, tokens: 0, seconds: 0, best: null, before: [], data: '', finished: true },
    metrics: [],
  }).close();
}
