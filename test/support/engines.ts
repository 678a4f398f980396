/** The engines that are here: ggml's libraries are optional packages. */
import { probeGgml } from '../../backend/ggml/probe.ts';
import type { Engine } from '../../backend/runtime/engines.ts';

/** A golden model that is a mixture of experts: ggml alone computes them (runtime/engines.ts). */
export const isMixture = (name: string): boolean => /moe|mixtral|gpt[-_]oss/.test(name);

export const computes = (engine: Engine, name: string): boolean => engine === 'ggml' || !isMixture(name);

export const engines: readonly Engine[] = 'folder' in probeGgml() ? ['onnx', 'ggml'] : ['onnx'];
