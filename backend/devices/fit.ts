/** How much of a model fits a graphics card or this machine: the size of its layers there, counted before memory is allocated. */
import type { Model } from '../model/open.ts';
import { expectedParameters, type ExpectedParameter } from '../model/expected-parameters.ts';
import { mostExpanded } from '../ggml/weight-form.ts';
import { blockInfo } from '../formats/dequantise.ts';
import { exitCut, hasBranch } from '../exits/architectures.ts';
import { memoryPath } from '../exits/memory.ts';
import { exitPath } from '../exits/spec.ts';
import { noExits, type ExitSet } from '../runtime/stage-tree.ts';

/** Bytes that a model takes. */
export interface Needs {
  /** Of each layer: its weights, those of its exits and of their memories, and keys, values and states of a text. */
  readonly layers: readonly number[];
  /** Bytes of the parts behind the last layer, and of the buffers for passes. */
  readonly rest: number;
  /** What it needs in all with precision `fast`, if `exact` is requested. */
  readonly asStored: number | null;
}

/** Positions of a text that room is left for. */
const positions = 4096;
/** For what passes compute in, and for the driver's own. */
const working = 256e6;
/** Share of a card's memory that is left to others, its screen among them. */
const spared = 0.05;

/** `exact`: weights, keys and values in 32 bits. Exits and memories are on the device of their layers, their matrices in bytes. */
export function needsOf(model: Pick<Model, 'spec' | 'parameters'>, exact: boolean, exits: ExitSet = noExits): Needs {
  const { spec, parameters } = model;
  const element = exact ? 4 : 2;
  const context = Math.min(positions, spec.contextLength);
  const kept = context * (2 * element * spec.kvHeads * spec.headDimensions + 4 * spec.hidden);
  const bytesOf = ({ name, stacked }: ExpectedParameter): number => {
    const elements = parameters.shape(name).reduce((a, b) => a * b, 1);
    const isExpanded = exact && !(stacked > 0 && elements > mostExpanded);
    const type = isExpanded ? null : parameters.storedType(name);
    const { bytes, elements: each } = blockInfo(type ?? 'F32');
    return (elements / each) * bytes;
  };
  const layers = spec.layers.map(() => kept);
  let rest = working;
  for (const parameter of expectedParameters(spec)) {
    const { name } = parameter;
    if (!parameters.has(name) || name.startsWith('embed_')) continue;
    const layer = /^layers\.(\d+)\./.exec(name);
    if (layer) layers[Number(layer[1])]! += bytesOf(parameter);
    else rest += bytesOf(parameter);
  }
  for (const exit of exits.specs) if (hasBranch(exit)) layers[exit.layer - 1]! += kept;
  // Exits at the same cut share a memory.
  const paths = new Map<string, number>(
    exits.specs.flatMap((exit): [string, number][] => [
      [exitPath(exit), exit.layer],
      [memoryPath(exitCut(exit)), exit.layer],
    ]),
  );
  for (const [path, layer] of paths)
    for (const [name, { shape }] of exits.parameters) {
      if (!name.startsWith(`${path}.`)) continue;
      const { bytes, elements } = blockInfo(exact || shape.length === 1 ? 'F32' : 'Q8_0');
      layers[layer - 1]! += (shape.reduce((a, b) => a * b, 1) / elements) * bytes;
    }
  const stored = exact ? needsOf(model, false, exits) : null;
  return { layers, rest, asStored: stored && bytesOfLayers(stored, layers.length) };
}

/** How many layers, from the first on, fit into the free bytes; all of them only together with the parts behind them. */
export function layersThatFit({ layers, rest }: Needs, { free, total }: { free: number; total: number }): number {
  let room = free - spared * total - working;
  let count = 0;
  while (count < layers.length && layers[count]! <= room) room -= layers[count++]!;
  return count === layers.length && room < rest - working ? count - 1 : count;
}

/** Bytes of the first `layers` layers; for all layers, with the parts behind them. */
export const bytesOfLayers = ({ layers, rest }: Needs, count: number): number =>
  layers.slice(0, count).reduce((a, b) => a + b, 0) + (count === layers.length ? rest : working);
