/**
 * Finds TensorFlow for Node: a package that the user has installed, or the one that doctor built into the user's cache. It
 * is tried in a process of its own; nothing here loads it.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { userCache } from '../system/user-cache.ts';
import { probe, resolvePackage, type Probe } from './probe.ts';

export type TensorFlowKind = 'tensorflow' | 'tensorflow-gpu';

export interface TensorFlow {
  /** The module to require. */
  readonly entry: string;
  /** Of the native library. */
  readonly version: string;
  /** Whether it computes on a GPU. */
  readonly gpu: boolean;
}

/** Folder in which doctor installs it. */
export const tensorFlowFolder = (kind: TensorFlowKind): string => join(userCache(), kind);

/** The package's main file below the folder that doctor installs into. */
export const tensorFlowEntry = (folder: string): string =>
  join(folder, 'node_modules', '@tensorflow', 'tfjs-node', 'dist', 'index.js');

/** The first that works: packages beside ours, then the user's cache; one that can use a GPU before one that cannot. */
export async function findTensorFlow(signal?: AbortSignal): Promise<Probe<TensorFlow>> {
  const installed = ['@tensorflow/tfjs-node-gpu', '@tensorflow/tfjs-node'].map(resolvePackage);
  const cached = (['tensorflow-gpu', 'tensorflow'] as const)
    .map((kind) => tensorFlowEntry(tensorFlowFolder(kind)))
    .map((entry) => (existsSync(entry) ? entry : null));
  let problem = 'it is not installed';
  for (const entry of [...installed, ...cached]) {
    if (entry === null) continue;
    const result = await probeTensorFlow(entry, signal);
    if ('found' in result) return result;
    problem = `${entry}: ${result.problem}`;
  }
  return { problem };
}

/** Loads a TensorFlow in another process and multiplies with it. */
export async function probeTensorFlow(entry: string, signal?: AbortSignal): Promise<Probe<TensorFlow>> {
  const program = `
    ${oldUtilities}
    const tf = require(input);
    const product = await tf.matMul(tf.tensor2d([[1, 2], [3, 4]]), tf.tensor2d([[5, 6], [7, 8]])).data();
    if (tf.getBackend() !== 'tensorflow') throw new Error('it fell back to ' + tf.getBackend());
    if ([19, 22, 43, 50].some((value, i) => product[i] !== value)) throw new Error('it computes wrong numbers');
    const { binding, isUsingGpuDevice } = tf.backend();
    report({ found: { entry: input, version: binding.TF_Version, gpu: isUsingGpuDevice === true } });`;
  return probe(program, entry, signal);
}

/** tfjs-node 4.22 calls two functions that Node 23 removed. */
const oldUtilities =
  "const util = require('node:util'); util.isNullOrUndefined ??= (x) => x == null; util.isArray ??= Array.isArray;";
