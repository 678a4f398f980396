/** The tuning step on the device that was chosen for exits: compiled on the CPU, or on a tfjs backend. */
import { openTensorFlowBackend, openWebgpuBackend } from '../../autodiff/backends.ts';
import type { ExitDevice } from '../../devices/devices.ts';
import { requireOnnxRuntime } from '../../onnx/session.ts';
import { createCompiledStep, createEagerStep, type StepOptions } from './step.ts';
import type { CompiledOptions } from './compiled.ts';
import type { TuningStep } from './types.ts';

export interface PlacedStep extends TuningStep {
  readonly device: ExitDevice;
}

/** @throws UserError `device` if the backend or ONNX Runtime cannot be loaded. */
export async function openPlacedStep(device: ExitDevice, options: StepOptions & CompiledOptions): Promise<PlacedStep> {
  if (device.kind === 'compiled') {
    // Its graphs are compiled with its first pass, which is late for this.
    requireOnnxRuntime();
    return { ...(await createCompiledStep(options)), device };
  }
  const backend =
    device.kind === 'webgpu' ? await openWebgpuBackend() : await openTensorFlowBackend(device.tensorFlow.entry);
  try {
    const step = await createEagerStep({ ...options, backend: backend.name });
    return {
      ...step,
      device,
      async dispose() {
        await step.dispose();
        backend.dispose();
      },
    };
  } catch (error) {
    backend.dispose();
    throw error;
  }
}
