/**
 * Which operators each execution provider of ONNX Runtime computes itself. A node without a kernel there is moved to the
 * CPU silently, and its data with it, so graphs are written in what the provider has. Knows names, no devices.
 */

export const providers = ['cpu', 'webgpu', 'cuda', 'dml', 'coreml'] as const;
export type Provider = (typeof providers)[number];

export interface Operators {
  /** x·Wᵀ with the weight as it lies in the file, or MatMul with a Transpose that is folded when a session opens. */
  readonly product: 'FusedMatMul' | 'MatMul';
  /**
   * `Attention` is ONNX's of opset 23; the others want keys and values repeated for every head of a group. WebGPU's fused kernel
   * gives wrong numbers for some shapes from 32 tokens on (seen at heads of 24, ONNX Runtime 1.30), so attention is single nodes there.
   */
  readonly attention: 'Attention' | 'MultiHeadAttention' | 'composed';
  readonly logSoftmax: 'LogSoftmax' | 'composed';
  /** Widths of quantised weights that run in their own blocks without rounding activations. Others are expanded. */
  readonly exactBlocks: readonly number[];
  /** The same where activations may be rounded. */
  readonly roundedBlocks: readonly number[];
  /** Whether products of bytes with a scale for each token and each row of the weight pay. */
  readonly roundedRows: boolean;
}

/** Without int8 arithmetic the CPU has a slow path only for blocks of 8 bits. */
const cpu: Operators = {
  product: 'FusedMatMul',
  attention: 'Attention',
  logSoftmax: 'LogSoftmax',
  exactBlocks: [4],
  roundedBlocks: [4, 8],
  roundedRows: true,
};

/** Operators with kernels on every GPU: ONNX's older ones and those of ONNX Runtime's transformer models. */
const gpu: Operators = {
  product: 'MatMul',
  attention: 'MultiHeadAttention',
  logSoftmax: 'composed',
  exactBlocks: [4],
  roundedBlocks: [4],
  roundedRows: false,
};

export const operatorsOf: Readonly<Record<Provider, Operators>> = {
  cpu,
  webgpu: { ...gpu, attention: 'composed', exactBlocks: [4, 8], roundedBlocks: [4, 8] },
  cuda: gpu,
  dml: gpu,
  coreml: gpu,
};
