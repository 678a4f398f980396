/**
 * From 1.30 on ONNX Runtime for Linux keeps an id of the machine in the user's cache and tells its makers what is run. This goes
 * into the environment before the first session of a process, and nothing is kept or told.
 */
export const withoutTelemetry = { ORT_DISABLE_TELEMETRY: '1' } as const;
