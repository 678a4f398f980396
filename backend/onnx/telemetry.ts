/**
 * From 1.30 on, ONNX Runtime for Linux stores an id of the machine in the user's cache and sends telemetry. These variables, set before the
 * first session of a process, disable both.
 */
export const withoutTelemetry = { ORT_DISABLE_TELEMETRY: '1' } as const;
