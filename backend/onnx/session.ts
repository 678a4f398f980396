/**
 * The only importer of onnxruntime-node: opens a graph in memory as a session and runs it. Feeds and results are plain
 * typed arrays with a shape.
 */
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import type * as Ort from 'onnxruntime-node';
import { userError, type UserError } from '../../protocol/errors.ts';
import { missingLibraries, nativePackage } from '../system/installed.ts';
import type { BuiltGraph } from './builder.ts';
import { withoutTelemetry } from './telemetry.ts';

Object.assign(process.env, withoutTelemetry);

/** Loaded for the first session: what decodes does without it, and its memory. */
let loaded: typeof Ort | null = null;
const onnxRuntime = (wayOut = withoutIt): typeof Ort => (loaded ??= loadOnnxRuntime(wayOut));

/**
 * For work that cannot do without, before it begins.
 * @throws UserError `device`, by default with what tunes exits without it, if it is not installed, or has no library for this platform.
 */
export const requireOnnxRuntime = (wayOut?: string): void => void onnxRuntime(wayOut);

function loadOnnxRuntime(wayOut: string): typeof Ort {
  const file = nativePackage('onnxruntime-node');
  const unable = (why: string, cause?: unknown): UserError =>
    userError('device', `ONNX Runtime, which fits and tunes exits on the CPU, is not here: ${why}.`, wayOut, cause);
  if (`${process.platform}-${process.arch}` === 'darwin-x64')
    throw unable("it has no library for Macs with Intel's processors");
  if (file === null) throw unable(missingLibraries());
  try {
    return createRequire(import.meta.url)(file) as typeof Ort;
  } catch (cause) {
    throw unable(cause instanceof Error ? cause.message : String(cause), cause);
  }
}

const withoutIt =
  'Use --initialise copy with --exit-device webgpu or tensorflow, which do without it, or another machine (--on).';

export interface Value {
  readonly data: Float32Array | Float64Array | Int32Array;
  readonly shape: readonly number[];
}

export interface Session {
  /** Runs the graph; only `outputs` are copied out (default: all). */
  run(feeds: Readonly<Record<string, Value>>, outputs?: readonly string[]): Promise<Record<string, Value>>;
  dispose(): Promise<void>;
}

export interface SessionOptions {
  /** Threads of one operator; default: all cores. */
  readonly threads?: number;
}

/** Opens a session. Threads of several sessions must not wait awake between runs, or they take the cores from each other. */
export async function openSession(graph: BuiltGraph, options: SessionOptions = {}): Promise<Session> {
  const ort = onnxRuntime();
  // It counts the machine's cores, also if this process may use one alone.
  const threads = options.threads ?? (availableParallelism() === 1 ? 1 : undefined);
  const session = await ort.InferenceSession.create(graph.bytes, {
    executionProviders: ['cpu'],
    graphOptimizationLevel: 'all',
    logSeverityLevel: 3,
    ...(threads === undefined ? {} : { intraOpNumThreads: threads }),
    // Memory that grows as needed: a block that is planned for all intermediate values would be kept between runs.
    enableMemPattern: false,
    externalData: graph.externalData.map(({ path, data }) => ({ path, data })),
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  });
  return {
    async run(feeds, outputs) {
      const tensors: Record<string, Ort.Tensor> = {};
      for (const [name, value] of Object.entries(feeds)) tensors[name] = toTensor(ort, value);
      const results = await (outputs ? session.run(tensors, outputs) : session.run(tensors));
      const values: Record<string, Value> = {};
      for (const [name, tensor] of Object.entries(results)) {
        values[name] = { data: tensor.data as Value['data'], shape: tensor.dims };
      }
      return values;
    },
    dispose: () => session.release(),
  };
}

function toTensor(ort: typeof Ort, { data, shape }: Value): Ort.Tensor {
  if (data instanceof Float32Array) return new ort.Tensor('float32', data, shape);
  if (data instanceof Float64Array) return new ort.Tensor('float64', data, shape);
  return new ort.Tensor('int32', data, shape);
}
