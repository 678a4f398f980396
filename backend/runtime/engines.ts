/** Which engine computes a model, and with what. Knows engines by name, no graph. */
import { blockInfo } from '../formats/quantisation.ts';
import { elementCount } from '../formats/safetensors.ts';
import type { Model } from '../model/open.ts';
import { isMixture } from '../model/spec.ts';
import type { GraphOptions } from '../onnx/ops.ts';
import type { SessionOptions } from '../onnx/session.ts';
import { userError } from '../../protocol/errors.ts';
import { packageVersion } from '../ggml/packages.ts';
import { ggmlPackage, probeGgml } from '../ggml/probe.ts';
import type { GgmlOptions } from './ggml-runtime.ts';

export type Engine = 'ggml' | 'onnx';
type Arithmetic = GraphOptions['arithmetic'];

export interface RuntimeOptions extends SessionOptions {
  /**
   * `float32`: exact. `int8`: activations are rounded to 8 bits a block, and quantised weights stay in their blocks.
   * `int8-rows`: rounded as suits many tokens at once. Default `float32`.
   */
  readonly arithmetic?: Arithmetic;
  /** `screened`, the default: readouts read the head roughly first, where arithmetic rounds anyway and that pays. */
  readonly head?: GgmlOptions['head'];
  /** For tests and measurements; default: as the table says. */
  readonly engine?: Engine;
  /** The part that a GPU computes, in ggml; default: none. */
  readonly gpu?: GgmlOptions['gpu'];
  /** See `GgmlOptions`. */
  readonly cutBehind?: number;
}

/** Why ggml does not compute on this machine, and the packages that bring it where they are missing; null where it does. */
export function ggmlProblem(): { readonly problem: string; readonly packages: string | null } | null {
  const probe = probeGgml();
  return 'problem' in probe ? { problem: probe.problem, packages: ggmlPackage() } : null;
}

/** What a user is told where the CPU computes without ggml for want of packages; null where nothing is missing. */
export function missingPackages(): string | null {
  const missing = ggmlProblem();
  if (missing === null || missing.packages === null) return null;
  return `The CPU computes without ggml, which takes longer: ${missing.problem}. Install ${missing.packages}; early-exit doctor names the command.`;
}

/** Of the libraries, which numbers follow from. */
export const ggmlVersion = packageVersion;

/** The first choice on this machine's CPU. */
export const cpuEngine = (): Engine => ('problem' in probeGgml() ? 'onnx' : 'ggml');

export function engineOf(model: Model, { engine, gpu, provider = 'cpu' }: RuntimeOptions): Engine {
  if (engine !== undefined) return engine;
  // On the CPU alone, whatever devices there are.
  if (isMixture(model.spec)) return mixtureEngine(model);
  if (gpu !== undefined) return 'ggml';
  return provider === 'cpu' ? cpuEngine() : 'onnx';
}

/** ggml alone multiplies with the chosen experts of a mixture, and leaves those of a quantised file in its blocks. */
function mixtureEngine({ path }: Model): Engine {
  const missing = ggmlProblem();
  if (missing !== null)
    throw userError(
      'device',
      `${path} is a mixture of experts, which ggml alone computes, and ${missing.problem}.`,
      missing.packages === null
        ? 'Take a dense model.'
        : `Install ${missing.packages}; early-exit doctor names the command.`,
    );
  return 'ggml';
}

const weightForm: Readonly<Record<Arithmetic, GgmlOptions['form']>> = {
  float32: 'exact',
  int8: 'stored',
  'int8-rows': 'many',
};

/**
 * Numbers of a model that processors hold in their caches. In floats it waits for no memory, so it is computed in 32 bits, which
 * no product has to widen: half of the time in passes of several tokens. Trained heads are in bytes all the same: they were tuned so.
 */
const smallModel = 1 << 23;

function isSmallInFloats({ stored }: Model): boolean {
  let numbers = 0;
  for (const { type, shape } of stored.tensors.tensors.values()) {
    if (blockInfo(type).elements > 1) return false;
    numbers += elementCount(shape);
  }
  return numbers <= smallModel;
}

export const ggmlOptions = (
  model: Model,
  { arithmetic = 'float32', head = 'screened', threads, gpu, cutBehind }: RuntimeOptions,
): GgmlOptions => ({
  form: arithmetic === 'int8' && gpu === undefined && isSmallInFloats(model) ? 'wide' : weightForm[arithmetic],
  head,
  ...(gpu !== undefined && { gpu }),
  ...(cutBehind !== undefined && { cutBehind }),
  ...(threads !== undefined && { threads }),
});
