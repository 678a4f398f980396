/**
 * Starts a tfjs backend on a device: WebGPU through Dawn, or TensorFlow's own library. Knows how to load them, not whether they should be
 * used: a crash ends the process, so each is tried in another process first.
 */
import { createRequire } from 'node:module';
import util from 'node:util';
import * as tf from '@tensorflow/tfjs-core';
import { userError } from '../../protocol/errors.ts';

export interface TensorBackend {
  /** By which tfjs knows it: registered and ready. */
  readonly name: 'webgpu' | 'tensorflow';
  /** Frees the device; the process can end then. Tensors on it are gone. */
  dispose(): void;
}

let webgpuFactory: ReturnType<typeof tf.findBackendFactory> | null = null;

/**
 * tfjs on WebGPU. One at a time.
 * @throws UserError `device` if Dawn or a graphics driver is missing.
 */
export async function openWebgpuBackend(): Promise<TensorBackend> {
  const name = 'webgpu';
  const { create, globals } = await import('webgpu').catch((cause: unknown) => {
    throw userError(
      'device',
      'The package webgpu, which WebGPU needs, cannot be loaded.',
      '"early-exit doctor" says how to bring it here.',
      cause,
    );
  });
  Object.assign(globalThis, globals);
  // The backend looks for a GPU when it is loaded and when it starts. Dawn keeps the process alive as long as `gpu` is referenced.
  setGpu(create([]));
  try {
    await import('@tensorflow/tfjs-backend-webgpu');
    // Loading it registers it, but only once.
    webgpuFactory ??= tf.findBackendFactory(name);
    if (tf.findBackendFactory(name) === null) tf.registerBackend(name, webgpuFactory);
    await start(name);
  } catch (cause) {
    setGpu(null);
    throw userError('device', 'TensorFlow.js cannot use WebGPU here.', 'See "early-exit doctor".', cause);
  }
  return {
    name,
    dispose() {
      tf.removeBackend(name);
      setGpu(null);
    },
  };
}

/**
 * tfjs on TensorFlow's library; `entry` is the module of tfjs-node, wherever it is installed. Its copy of tfjs-core shares
 * its engine and its kernels with ours through the global scope.
 * @throws UserError `device` if it cannot be loaded.
 */
export async function openTensorFlowBackend(entry: string): Promise<TensorBackend> {
  const name = 'tensorflow';
  // tfjs-node 4.22 calls two functions that Node 23 removed.
  const utilities = util as unknown as Record<string, (x: unknown) => boolean>;
  utilities['isNullOrUndefined'] ??= (x) => x === null || x === undefined;
  utilities['isArray'] ??= (x) => Array.isArray(x);
  process.env['TF_CPP_MIN_LOG_LEVEL'] ??= '2'; // Or it describes the processor on the command line's stderr.
  tf.env().set('PROD', true); // Or it warns that another tfjs-core is here already.
  const before = tf.engine().backendName;
  try {
    createRequire(import.meta.url)(entry);
    await start(name);
  } catch (cause) {
    throw userError('device', `TensorFlow cannot be loaded from ${entry}.`, 'See "early-exit doctor".', cause);
  } finally {
    if (before) await tf.setBackend(before); // tfjs-node makes itself the default.
  }
  return { name, dispose: () => undefined };
}

async function start(name: string): Promise<void> {
  const before = tf.engine().backendName;
  if (!(await tf.setBackend(name))) throw new Error(`tfjs cannot start its backend ${name}`);
  await tf.ready();
  if (before) await tf.setBackend(before);
}

function setGpu(gpu: unknown): void {
  const { navigator = {} } = globalThis as { navigator?: object };
  Object.defineProperty(globalThis, 'navigator', { value: navigator, configurable: true, writable: true });
  Object.defineProperty(navigator, 'gpu', { value: gpu ?? undefined, configurable: true, writable: true });
}
