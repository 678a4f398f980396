/** Which runs need ONNX Runtime, which some platforms lack: those say so before they read anything. */
import { requireOnnxRuntime } from '../onnx/session.ts';

export interface EngineWish {
  /** Whether initial values are fitted. */
  readonly fits: boolean;
  readonly exitDevice: 'auto' | 'cpu' | 'webgpu' | 'tensorflow';
  /** The model's device, or what is requested while it is not chosen. */
  readonly device: string;
}

/** @throws UserError `device` if a run that tunes exits needs what is not here. `auto` follows the model (devices/devices.ts). */
export function requireEngine({ fits, exitDevice, device }: EngineWish): void {
  const isCompiled = exitDevice === 'cpu' || (exitDevice === 'auto' && device === 'cpu');
  if (fits || isCompiled) requireOnnxRuntime();
}

/** The same of a run that trains the whole model. */
export const requireWholeEngine = (): void =>
  requireOnnxRuntime('A whole model is trained with it, or in PyTorch on another machine (--on).');
