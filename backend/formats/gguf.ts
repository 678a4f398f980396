/**
 * The header of a GGUF file (versions 2 and 3, little-endian) and its tensors as a `TensorSource`. Read by range and
 * synchronously; each count and length is checked against what is left of the file before memory is taken for it. Knows no model.
 * Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
 */
import { userError } from '../../protocol/errors.ts';
import { foreignKind, openRangeFile, type RangeFile } from './files.ts';
import { blockInfo, typeBytes } from './dequantise.ts';
import {
  badGguf as bad,
  cursorOf,
  entryCount,
  maxNameBytes,
  readMetadata,
  type Cursor,
  type GgufMetadata,
} from './gguf-metadata.ts';
import { elementCount, readWithin, shorten } from './safetensors.ts';
import type { TensorInfo, TensorSource, TensorType } from './tensor-source.ts';

export interface GgufFile extends TensorSource {
  /** Texts and arrays can be read until the file is closed. */
  readonly metadata: GgufMetadata;
}

/** Opens a GGUF file and reads its header. Throws `not-found`, `bad-weights` or `unsupported`. */
export function openGguf(path: string): GgufFile {
  const file = openRangeFile(path);
  try {
    const { metadata, tensors } = readHeader(file);
    const files = new Map([[path, file]]);
    return {
      files: [path],
      metadata,
      tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])),
      read: (tensor, start = 0, length = tensor.bytes - start) => readWithin(files, tensor, start, length),
      close: () => file.close(),
    };
  } catch (error) {
    file.close();
    throw error;
  }
}

// llama.cpp has at most four axes.
const maxAxes = 4;
// The largest real models have some tens of thousands.
const maxTensors = 1_000_000;
// A multiple of what any processor asks for; llama.cpp writes 32.
const maxAlignment = 2 ** 20;
// Bytes a tensor (empty name, no axes, type, offset) takes at least.
const minTensorBytes = 24;

function readHeader(file: RangeFile): { metadata: GgufMetadata; tensors: TensorInfo[] } {
  const start = file.read(0, Math.min(file.size, 512));
  if (Buffer.from(start.subarray(0, 4)).toString('latin1') !== 'GGUF')
    throw userError(
      'bad-weights',
      `${file.path} is ${foreignKind(start) ?? 'something else'}, not a GGUF file.`,
      'Get the real file, or name a GGUF or safetensors model.',
    );
  const cursor = cursorOf(file, 4);
  checkVersion(file, cursor.u32());
  const tensorCount = cursor.count('tensors', minTensorBytes, maxTensors);
  const metadata = readMetadata(cursor, entryCount(cursor));
  checkSplit(file, metadata);
  const described = Array.from({ length: tensorCount }, () => readTensor(cursor));
  const alignment = alignmentOf(file, metadata);
  const dataStart = Math.ceil(cursor.position() / alignment) * alignment;
  const tensors = described.map((tensor) => place(file, tensor, dataStart, alignment));
  checkOverlaps(file, tensors);
  return { metadata, tensors };
}

function checkVersion(file: RangeFile, version: number): void {
  if (version === 2 || version === 3) return;
  const bigEndian = version !== 0 && (version & 0xffff) === 0;
  throw userError(
    'unsupported',
    `${file.path} is ${bigEndian ? 'a big-endian GGUF file' : `GGUF version ${version}`}, which is not supported.`,
    'Convert the model again with a current version of llama.cpp.',
  );
}

function checkSplit(file: RangeFile, metadata: GgufMetadata): void {
  const parts = metadata.get('split.count');
  if (typeof parts === 'number' && parts > 1)
    throw userError(
      'unsupported',
      `${file.path} is one of ${parts} parts of a split GGUF model.`,
      'Join them first: llama-gguf-split --merge FIRST-PART OUTPUT.gguf.',
    );
}

interface Described {
  readonly name: string;
  readonly type: TensorType;
  readonly shape: readonly number[];
  readonly offset: number;
}

function readTensor(cursor: Cursor): Described {
  const { file } = cursor;
  const name = cursor.string(maxNameBytes);
  const axes = cursor.u32();
  if (axes > maxAxes) throw bad(file, `tensor ${shorten(name)} has ${axes} axes`);
  const shape = Array.from({ length: axes }, () => cursor.u64()).reverse();
  // Times eight: the product in bytes must stay exact too.
  if (!Number.isSafeInteger(elementCount(shape) * 8))
    throw bad(file, `tensor ${shorten(name)} has an impossible shape`);
  const code = cursor.u32();
  const type = tensorTypes[code];
  if (type === undefined)
    throw userError(
      'unsupported',
      `Tensor ${shorten(name)} of ${file.path} has GGML type ${unsupportedTypes[code] ?? code}, which is not supported.`,
      'Use a file with F32, F16, BF16, Q8_0, Q4_0 … Q5_1 or Q2_K … Q6_K weights.',
    );
  if ((shape.at(-1) ?? 1) % blockInfo(type).elements !== 0)
    throw bad(file, `the rows of tensor ${shorten(name)} are no multiple of a ${type} block`);
  return { name, type, shape, offset: cursor.u64() };
}

function place(file: RangeFile, tensor: Described, dataStart: number, alignment: number): TensorInfo {
  const { name, type, shape } = tensor;
  const bytes = typeBytes(type, elementCount(shape));
  const offset = dataStart + tensor.offset;
  if (tensor.offset % alignment !== 0) throw bad(file, `tensor ${shorten(name)} is not aligned`);
  if (!(offset + bytes <= file.size))
    throw bad(
      file,
      `tensor ${shorten(name)} ends at byte ${offset + bytes}, the file at ${file.size} (is it truncated?)`,
    );
  return { name, type, shape, file: file.path, offset, bytes };
}

function checkOverlaps(file: RangeFile, tensors: readonly TensorInfo[]): void {
  const names = new Set(tensors.map(({ name }) => name));
  if (names.size !== tensors.length) throw bad(file, 'two tensors have the same name');
  let end = 0;
  for (const { name, offset, bytes } of [...tensors].sort((a, b) => a.offset - b.offset || a.bytes - b.bytes)) {
    if (offset < end) throw bad(file, `tensor ${shorten(name)} overlaps another`);
    end = offset + bytes;
  }
}

function alignmentOf(file: RangeFile, metadata: GgufMetadata): number {
  const alignment = metadata.get('general.alignment') ?? 32;
  if (typeof alignment === 'number' && alignment >= 1 && alignment <= maxAlignment && Math.log2(alignment) % 1 === 0)
    return alignment;
  throw bad(file, `its alignment is no power of two`);
}

// ggml.h, enum ggml_type.
const tensorTypes: Readonly<Record<number, TensorType>> = {
  0: 'F32',
  1: 'F16',
  2: 'Q4_0',
  3: 'Q4_1',
  6: 'Q5_0',
  7: 'Q5_1',
  8: 'Q8_0',
  10: 'Q2_K',
  11: 'Q3_K',
  12: 'Q4_K',
  13: 'Q5_K',
  14: 'Q6_K',
  24: 'I8',
  25: 'I16',
  26: 'I32',
  27: 'I64',
  28: 'F64',
  30: 'BF16',
};
const unsupportedTypes: Readonly<Record<number, string>> = {
  9: 'Q8_1',
  15: 'Q8_K',
  16: 'IQ2_XXS',
  17: 'IQ2_XS',
  18: 'IQ3_XXS',
  19: 'IQ1_S',
  20: 'IQ4_NL',
  21: 'IQ3_S',
  22: 'IQ2_S',
  23: 'IQ4_XS',
  29: 'IQ1_M',
  34: 'TQ1_0',
  35: 'TQ2_0',
  39: 'MXFP4',
};
