/**
 * Takes the exits of a model that was trained to leave early with its own norm and head (LayerSkip, arXiv 2404.16710), which have no
 * parameters of their own: a checkpoint in which each norm is a copy.
 */
import { basename } from 'node:path';
import { userError } from '../../protocol/errors.ts';
import type { ExportEvent } from '../../protocol/events.ts';
import type { ImportOptions } from '../../protocol/options.ts';
import { createCheckpoint } from '../checkpoint/writer.ts';
import { exitParameters } from '../exits/parameters.ts';
import type { ExitSpec } from '../exits/spec.ts';
import { statOf } from '../formats/files.ts';
import { openModel } from '../model/open.ts';
import { identify } from './opened.ts';

/** @throws UserError for layers that the model has not, and a folder that is there already. */
export async function* importExits(options: ImportOptions, signal: AbortSignal): AsyncGenerator<ExportEvent, void> {
  yield { type: 'phase', phase: 'load', detail: options.model };
  const model = openModel(options.model);
  try {
    const { spec, parameters } = model;
    const depth = spec.layers.length;
    const wrong = options.layers.find((layer) => layer >= depth);
    if (wrong !== undefined)
      throw userError('bad-argument', `The model has ${depth} layers: behind layer ${wrong} there is no exit.`);
    const out = options.out ?? `${basename(model.name).replace(/\.gguf$/i, '')}.exits`;
    if (statOf(out) !== null)
      throw userError('bad-argument', `${out} is there already.`, 'Give another folder with --out, or remove it.');
    const exits = options.layers.map((layer): ExitSpec => ({ layer, architecture: 'norm', head: { kind: 'shared' } }));
    const own = exits.flatMap((exit) => exitParameters(spec, exit, parameters));
    const values = new Map(own.map(({ name, source }) => [name, parameters.values(source!)]));
    const zeros = new Map(own.map(({ name }) => [name, new Float32Array(values.get(name)!.length)]));
    yield { type: 'phase', phase: 'save', detail: out };
    createCheckpoint(out, {
      info: { base: await identify(model, signal), exits, tuning: { model: options.model }, calibration: null },
      shapes: new Map(own.map(({ name, shape }) => [name, shape])),
      state: { updates: 0, parameters: values, firstMoments: zeros, secondMoments: zeros },
      progress: { step: 0, tokens: 0, scores: [] },
      position: { step: 0, windows: 0, tokens: 0, seconds: 0, best: null, before: [], data: '', finished: true },
      metrics: [],
    }).close();
    yield { type: 'saved', path: out, files: ['exits.json', 'exits.safetensors'] };
  } finally {
    model.close();
  }
}
