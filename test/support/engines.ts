/** The engines that are here: ggml's libraries are optional packages. */
import { probeGgml } from '../../backend/ggml/probe.ts';
import type { Engine } from '../../backend/runtime/engines.ts';

export const engines: readonly Engine[] = 'folder' in probeGgml() ? ['onnx', 'ggml'] : ['onnx'];
