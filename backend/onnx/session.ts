/**
 * The only importer of onnxruntime-node: opens a graph in memory as a session and runs it. Feeds and results are plain
 * typed arrays with a shape.
 */
import { createRequire } from 'node:module';
import type * as Ort from 'onnxruntime-node';
import { userError, type UserError } from '../../protocol/errors.ts';
import { missingLibraries, nativePackage } from '../formats/installed.ts';
import type { BuiltGraph } from './builder.ts';
import type { Provider } from './operators.ts';
import { withoutTelemetry } from './telemetry.ts';

export type { Provider };

Object.assign(process.env, withoutTelemetry);

/** Loaded for the first session: what decodes in ggml does without it, and its memory. */
let loaded: typeof Ort | null = null;
const onnxRuntime = (): typeof Ort => (loaded ??= loadOnnxRuntime());

/** @throws UserError `device` where it is not installed, or has no library for this platform. */
function loadOnnxRuntime(): typeof Ort {
  const file = nativePackage('onnxruntime-node');
  const unable = (why: string, cause?: unknown): UserError =>
    userError('device', `ONNX Runtime, which tunes exits on the CPU, is not here: ${why}.`, remedy, cause);
  if (`${process.platform}-${process.arch}` === 'darwin-x64')
    throw unable("it has no library for Macs with Intel's processors");
  if (file === null) throw unable(missingLibraries());
  try {
    return createRequire(import.meta.url)(file) as typeof Ort;
  } catch (cause) {
    throw unable(cause instanceof Error ? cause.message : String(cause), cause);
  }
}

const remedy = 'Tune on a GPU (--exit-device), on another machine (--on), or see early-exit doctor.';

export interface Value {
  readonly data: Float32Array | Float64Array | BigInt64Array | Int32Array | Uint8Array;
  readonly shape: readonly number[];
}

export interface Session {
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Runs the graph; only `outputs` are copied out (default: all). */
  run(feeds: Readonly<Record<string, Value>>, outputs?: readonly string[]): Promise<Record<string, Value>>;
  dispose(): Promise<void>;
}

export interface SessionOptions {
  readonly provider?: Provider;
  /**
   * Whether threads wait for the next operator of a run awake: a token of a small model is a thousand short operators, and
   * waking for each costs a fifth of its time. They sleep between runs. Default: no.
   */
  readonly spins?: boolean;
  /** Threads of one operator; default: all cores. */
  readonly threads?: number;
  /**
   * What the session keeps between runs. `blocks`: one block planned for all intermediate values, the fastest. `pieces`:
   * memory that grows as needed. `nothing`: every value goes back to the system at once, for graphs with few large ones.
   */
  readonly memory?: 'blocks' | 'pieces' | 'nothing';
}

/** What the runtime or the device under it failed at, as against a mistake in what it was asked. */
export class RuntimeFailure extends Error {
  override readonly name = 'RuntimeFailure';
}

/**
 * Opens a session. Several sessions' thread pools must not spin between runs, or they take the cores from each other.
 * @throws RuntimeFailure when the provider is absent or the graph is refused; so does `run` when the device fails.
 */
export async function openSession(graph: BuiltGraph, options: SessionOptions = {}): Promise<Session> {
  const spins = options.spins ? '1' : '0';
  const ort = onnxRuntime();
  const creating = ort.InferenceSession.create(graph.bytes, {
    executionProviders: [options.provider ?? 'cpu'],
    graphOptimizationLevel: 'all',
    logSeverityLevel: 3,
    ...(options.threads === undefined ? {} : { intraOpNumThreads: options.threads }),
    enableMemPattern: (options.memory ?? 'blocks') === 'blocks',
    enableCpuMemArena: options.memory !== 'nothing',
    externalData: graph.externalData.map(({ path, data }) => ({ path, data })),
    extra: { session: { intra_op: { allow_spinning: spins }, force_spinning_stop: spins } },
  });
  const session = await creating.catch(runtimeFailed);
  return {
    inputs: session.inputNames,
    outputs: session.outputNames,
    async run(feeds, outputs) {
      const tensors: Record<string, Ort.Tensor> = {};
      for (const [name, value] of Object.entries(feeds)) tensors[name] = toTensor(ort, value);
      const running = outputs ? session.run(tensors, outputs) : session.run(tensors);
      const results = await running.catch(runtimeFailed);
      const values: Record<string, Value> = {};
      for (const [name, tensor] of Object.entries(results)) {
        values[name] = { data: tensor.data as Value['data'], shape: tensor.dims };
      }
      return values;
    },
    dispose: () => session.release(),
  };
}

function runtimeFailed(error: unknown): never {
  throw new RuntimeFailure(error instanceof Error ? error.message : String(error), { cause: error });
}

function toTensor(ort: typeof Ort, { data, shape }: Value): Ort.Tensor {
  if (data instanceof Float32Array) return new ort.Tensor('float32', data, shape);
  if (data instanceof Float64Array) return new ort.Tensor('float64', data, shape);
  if (data instanceof BigInt64Array) return new ort.Tensor('int64', data, shape);
  if (data instanceof Int32Array) return new ort.Tensor('int32', data, shape);
  return new ort.Tensor('uint8', data, shape);
}
