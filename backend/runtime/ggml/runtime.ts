/** What models in ggml share: the CPU with its threads, and the weights of a model that several of them compute with. */
import { isHead } from '../../exits/spec.ts';
import { openCpu } from '../../ggml/cpu.ts';
import { openGpu, type GpuName } from '../../ggml/gpu.ts';
import type { Processor } from '../../ggml/processor.ts';
import { openLibrary } from '../../ggml/library.ts';
import { requireGgml } from '../../ggml/probe.ts';
import type { WeightForm } from '../../ggml/weight-form.ts';
import { openWeights, type Weights } from '../../ggml/weights.ts';
import { overlayParameters } from '../../model/overlay.ts';
import type { Model } from '../../model/open.ts';
import type { ExitSet } from '../stage-tree.ts';

export interface GgmlOptions {
  readonly form: WeightForm;
  /** Whether readouts without logits may use the screened head, if that is faster; by default they use the exact head. */
  readonly head?: 'exact' | 'screened';
  /** Default: as many as there are cores. */
  readonly threads?: number;
  /** The part of a model that a GPU computes; default: none. */
  readonly gpu?: GpuShare;
  /** Layers after which the model is cut besides its exits; default: those of the GPU. */
  readonly cutBehind?: number;
}

/** The first layers of a model on a GPU; if these are all layers, also the parts behind them. */
export interface GpuShare {
  readonly gpu: GpuName;
  readonly layers: number;
}

const processors = new Map<number | undefined, Processor>();

/**
 * The CPU with `threads` threads; opened once, since its threads wait for work between models.
 * @throws UserError `device` if ggml does not compute here.
 */
export function processorOf({ threads }: Pick<GgmlOptions, 'threads'>): Processor {
  let processor = processors.get(threads);
  if (processor === undefined) {
    processor = openCpu(openLibrary(requireGgml()), threads === undefined ? {} : { threads });
    processors.set(threads, processor);
  }
  return processor;
}

const gpus = new Map<string, Processor>();

/** A GPU, opened once. @throws ProcessorFailure if it cannot be opened. */
function gpuOf({ gpu }: GpuShare, options: GgmlOptions): Processor {
  const { library } = processorOf(options);
  const processor = gpus.get(gpu.name) ?? openGpu(library, gpu);
  gpus.set(gpu.name, processor);
  return processor;
}

/** The processor that computes a layer. */
export const processorOfLayer = (layer: number, options: GgmlOptions): Processor =>
  options.gpu !== undefined && layer <= options.gpu.layers ? gpuOf(options.gpu, options) : processorOf(options);

interface Shared {
  readonly weights: Weights;
  users: number;
}

const shared = new WeakMap<Model, Map<string, Shared>>();

/** The weights of a model and of exits laid over it. Those of the model are uploaded once, and shared by everything that has the model open. */
export function weightsOf(
  processor: Processor,
  model: Model,
  exitParameters: ExitSet['parameters'],
  options: GgmlOptions,
): Weights {
  const key = `${processor.name} ${options.form} ${options.threads}`;
  const ofModel = shared.get(model) ?? new Map<string, Shared>();
  shared.set(model, ofModel);
  const base = ofModel.get(key) ?? { weights: openWeights(processor, model.parameters, options.form), users: 0 };
  ofModel.set(key, base);
  base.users++;
  const all = overlayParameters(model.parameters, exitParameters);
  const own = openWeights(processor, all, options.form, isHead);
  const holder = (name: string): Weights => (exitParameters.has(name) ? own : base.weights);
  return {
    has: (name) => all.has(name),
    matrix: (name) => holder(name).matrix(name),
    joined(names) {
      const own = names.filter((name) => exitParameters.has(name));
      return own.length === 0 || own.length === names.length ? holder(names[0]!).joined(names) : null;
    },
    load: (groups) => base.weights.load(groups.filter((names) => !names.some((name) => exitParameters.has(name)))),
    keep: (...matrix) => base.weights.keep(...matrix),
    experts: (name, experts) => holder(name).experts(name, experts),
    vector: (name, offset) => holder(name).vector(name, offset),
    constant: (name, values) => base.weights.constant(name, values),
    dispose() {
      own.dispose();
      if (--base.users > 0) return;
      ofModel.delete(key);
      base.weights.dispose();
    },
  };
}
