/** Named tensors in files, read by range. Knows bytes and types, no model. */
import type { Allocate } from '../system/files.ts';

/** Element types; the quantised ones are GGML blocks (`Q4_0` … `MXFP4`) along the last axis. */
export type TensorType =
  | 'F32'
  | 'F16'
  | 'BF16'
  | 'F64'
  | 'I8'
  | 'U8'
  | 'I16'
  | 'I32'
  | 'I64'
  | 'BOOL'
  | 'Q4_0'
  | 'Q4_1'
  | 'Q5_0'
  | 'Q5_1'
  | 'Q8_0'
  | 'Q2_K'
  | 'Q3_K'
  | 'Q4_K'
  | 'Q5_K'
  | 'Q6_K'
  | 'IQ1_S'
  | 'IQ1_M'
  | 'IQ2_XXS'
  | 'IQ2_XS'
  | 'IQ2_S'
  | 'IQ3_XXS'
  | 'IQ3_S'
  | 'IQ4_NL'
  | 'IQ4_XS'
  | 'TQ1_0'
  | 'TQ2_0'
  | 'MXFP4';

export interface TensorInfo {
  readonly name: string;
  readonly type: TensorType;
  /** Row-major, outermost first: a linear weight is `[out, in]` (GGUF's reversed order is already undone). */
  readonly shape: readonly number[];
  readonly file: string;
  /** First byte within `file`. */
  readonly offset: number;
  readonly bytes: number;
}

export interface TensorSource {
  /** Every weight file, for hashing. */
  readonly files: readonly string[];
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** Reads `length` bytes of a tensor from `start` (default: all of it), by default into fresh memory. */
  read(tensor: TensorInfo, start?: number, length?: number, allocate?: Allocate): Uint8Array;
  close(): void;
}
