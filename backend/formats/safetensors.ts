/**
 * Safetensors: one file, a Hugging Face directory, or shards with an index, as a `TensorSource`; and a writer. The header
 * is checked against the file's size before anything is believed. Knows no model.
 * Format: https://huggingface.co/docs/safetensors (eight bytes of header length, JSON, data without holes).
 */
import { existsSync, readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { userError, type UserError } from '../../protocol/errors.ts';
import { isRecord } from '../../protocol/foreign.ts';
import {
  foreignKind,
  openRangeFile,
  readText,
  statOf,
  writeFileAtomically,
  type Access,
  type Allocate,
  type RangeFile,
} from '../system/files.ts';
import { typeBytes } from './dequantise.ts';
import type { TensorInfo, TensorSource, TensorType } from './tensor-source.ts';

/** A tensor to write. `bytes` may come in pieces, so that no second copy of a large one is needed. */
export interface TensorData {
  readonly name: string;
  readonly type: TensorType;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array | Iterable<Uint8Array>;
}

/**
 * Opens `path`: a `.safetensors` file, an index (`*.safetensors.index.json`), or a directory with `model.safetensors` or
 * `model.safetensors.index.json`. Throws `not-found`, `bad-weights` or `unsupported`.
 */
export function openSafetensors(path: string): TensorSource {
  const target = isDirectory(path) ? weightsIn(path) : path;
  return target.endsWith('.index.json') ? openSharded(target) : sourceOf([openFile(target)]);
}

/** The string-to-string metadata of one file's header; empty if there is none. */
export function readSafetensorsMetadata(file: string): ReadonlyMap<string, string> {
  const opened = openFile(file);
  opened.file.close();
  return opened.metadata;
}

/**
 * Writes tensors to `file`, whole or not at all, in the order given. The data of each tensor must have exactly the length of its type and
 * shape. Throws `file-system`.
 */
export function writeSafetensors(
  file: string,
  tensors: readonly TensorData[],
  metadata: Readonly<Record<string, string>> = {},
  access: Access = 'owner',
): void {
  const header: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
  if (Object.keys(metadata).length > 0) header['__metadata__'] = metadata;
  let offset = 0;
  for (const { name, type, shape } of tensors) {
    if (!safetensorsTypes.has(type) || name === '__metadata__' || name in header)
      throw new Error(`safetensors cannot hold ${name} of type ${type}, or holds it already`);
    const end = offset + typeBytes(type, elementCount(shape));
    header[name] = { dtype: type, shape, data_offsets: [offset, end] };
    offset = end;
  }
  const json = Buffer.from(JSON.stringify(header));
  // The data begins at a multiple of eight, so that it can be mapped as any element type.
  const padded = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, ' ');
  padded.writeBigUInt64LE(BigInt(padded.length - 8));
  json.copy(padded, 8);
  writeFileAtomically(file, pieces(padded, tensors), access);
}

/** The bytes of an array of numbers, without a copy. */
export const bytesOf = (values: ArrayBufferView): Uint8Array =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

// The reference implementation refuses larger headers; the largest real ones are some megabytes.
const maxHeaderBytes = 100_000_000;
// Every tensor costs memory here before it is read; the largest real models have some tens of thousands.
const maxTensors = 1_000_000;
// More axes than any weight has; it bounds the product taken below.
const maxAxes = 8;
// Each shard is an open file; the largest real models have some hundreds.
const maxShards = 2_000;
// The index lists one short line a tensor.
const maxIndexBytes = 100_000_000;
const openingBrace = 0x7b;

const safetensorsTypes: ReadonlySet<string> = new Set<TensorType>([
  'F32',
  'F16',
  'BF16',
  'F64',
  'I8',
  'U8',
  'I16',
  'I32',
  'I64',
  'BOOL',
]);

interface OpenFile {
  readonly file: RangeFile;
  readonly tensors: readonly TensorInfo[];
  readonly metadata: ReadonlyMap<string, string>;
}

const getAgain = 'Get the file again, or convert the model to safetensors once more.';

const bad = (file: string, what: string, wayOut = getAgain): UserError =>
  userError('bad-weights', `${file} is not a sound safetensors file: ${what}.`, wayOut);

function openFile(path: string): OpenFile {
  const file = openRangeFile(path);
  try {
    return { file, ...readHeader(file) };
  } catch (error) {
    file.close();
    throw error;
  }
}

function readHeader(file: RangeFile): Pick<OpenFile, 'tensors' | 'metadata'> {
  const start = file.read(0, Math.min(file.size, 512));
  // Only if the JSON does not begin: the header's length may by chance look like another format's first bytes.
  const foreign = start[8] === openingBrace ? null : foreignKind(start);
  if (foreign !== null)
    throw userError(
      'bad-weights',
      `${file.path} is ${foreign}, not safetensors.`,
      'Get the real weights, or name a safetensors or GGUF model.',
    );
  if (file.size < 8) throw bad(file.path, `it has ${file.size} bytes`);
  const length = Number(Buffer.from(start.buffer).readBigUInt64LE(0));
  if (length > file.size - 8) throw bad(file.path, `its header of ${length} bytes is longer than the file`);
  if (length > maxHeaderBytes)
    throw bad(file.path, `its header of ${length} bytes is over the limit ${maxHeaderBytes}`);
  const header = parseObject(file.path, Buffer.from(file.read(8, length).buffer).toString('utf8'));
  const dataStart = 8 + length;
  const { __metadata__: metadata, ...entries } = header;
  const names = Object.keys(entries);
  if (names.length > maxTensors) throw bad(file.path, `it lists ${names.length} tensors`);
  const tensors = names.map((name) => tensorInfo(file, name, entries[name], dataStart));
  checkCoverage(file, tensors, dataStart);
  return { tensors, metadata: stringMap(file.path, metadata) };
}

function tensorInfo(file: RangeFile, name: string, entry: unknown, dataStart: number): TensorInfo {
  const shown = shorten(name);
  if (!isRecord(entry)) throw bad(file.path, `the entry of tensor ${shown} is not an object`);
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== 'string') throw bad(file.path, `tensor ${shown} has no type`);
  if (!safetensorsTypes.has(dtype))
    throw userError(
      'unsupported',
      `Tensor ${shown} of ${file.path} has type ${shorten(dtype)}, which is not supported.`,
      `Use weights of type F32, F16 or BF16, or a GGUF file.`,
    );
  const type = dtype as TensorType;
  if (!Array.isArray(shape) || shape.length > maxAxes || !shape.every(isCount))
    throw bad(file.path, `tensor ${shown} has no valid shape`);
  const elements = elementCount(shape);
  if (!Number.isSafeInteger(elements * 8)) throw bad(file.path, `tensor ${shown} has an impossible shape`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount))
    throw bad(file.path, `tensor ${shown} has no valid offsets`);
  const [begin, end] = offsets as [number, number];
  const available = file.size - dataStart;
  if (end < begin || end > available)
    throw bad(file.path, `tensor ${shown} lies at bytes ${begin} to ${end} of ${available} (is the file truncated?)`);
  const bytes = typeBytes(type, elements);
  if (bytes !== end - begin)
    throw bad(file.path, `tensor ${shown} needs ${bytes} bytes for its shape and has ${end - begin}`);
  return { name, type, shape: shape, file: file.path, offset: dataStart + begin, bytes };
}

/** The data must be covered exactly once, as the reference implementation demands: overlaps, holes and a tail are refused. */
function checkCoverage(file: RangeFile, tensors: readonly TensorInfo[], dataStart: number): void {
  let end = dataStart;
  for (const tensor of [...tensors].sort((a, b) => a.offset - b.offset || a.bytes - b.bytes)) {
    if (tensor.offset < end) throw bad(file.path, `tensor ${shorten(tensor.name)} overlaps another`);
    if (tensor.offset > end) throw bad(file.path, `there is a hole before tensor ${shorten(tensor.name)}`);
    end = tensor.offset + tensor.bytes;
  }
  if (end !== file.size) throw bad(file.path, `${file.size - end} bytes follow the last tensor`);
}

function openSharded(index: string): TensorSource {
  const size = statOf(index)?.size;
  if (size !== undefined && size > maxIndexBytes) throw bad(index, `the index has ${size} bytes`);
  const map = stringMap(index, parseObject(index, readText(index))['weight_map']);
  const shards = [...new Set(map.values())].sort();
  if (shards.length === 0) throw bad(index, 'its weight_map is empty');
  if (shards.length > maxShards) throw bad(index, `it names ${shards.length} shards`);
  const strange = shards.find((name) => basename(name) !== name || name.includes('\\') || name === '..');
  if (strange !== undefined) throw bad(index, `it names a shard outside its folder (${shorten(strange)})`);
  const opened: OpenFile[] = [];
  try {
    for (const shard of shards) opened.push(openFile(join(dirname(index), shard)));
    const byShard = new Map(
      opened.map(({ file, tensors }) => [basename(file.path), new Map(tensors.map((t) => [t.name, t]))]),
    );
    for (const [name, shard] of map) {
      if (!byShard.get(shard)?.has(name))
        throw bad(index, `tensor ${shorten(name)} is missing from ${join(dirname(index), shard)}`);
    }
    const wanted = opened.map(({ file, tensors, metadata }) => ({
      file,
      metadata,
      tensors: tensors.filter(({ name }) => map.get(name) === basename(file.path)),
    }));
    return sourceOf(wanted);
  } catch (error) {
    opened.forEach(({ file }) => file.close());
    throw error;
  }
}

function sourceOf(files: readonly OpenFile[]): TensorSource {
  const byPath = new Map(files.map(({ file }) => [file.path, file]));
  return {
    files: files.map(({ file }) => file.path),
    tensors: new Map(files.flatMap(({ tensors }) => tensors.map((tensor) => [tensor.name, tensor] as const))),
    read: (tensor, start = 0, length = tensor.bytes - start, allocate) =>
      readWithin(byPath, tensor, start, length, allocate),
    close: () => files.forEach(({ file }) => file.close()),
  };
}

/** A range of a tensor; asking beyond its end is a programming error. */
export function readWithin(
  files: ReadonlyMap<string, RangeFile>,
  tensor: TensorInfo,
  start: number,
  length: number,
  allocate?: Allocate,
): Uint8Array {
  const file = files.get(tensor.file);
  if (file === undefined || start < 0 || length < 0 || start + length > tensor.bytes)
    throw new RangeError(`bytes ${start} to ${start + length} are not within ${tensor.name} of ${tensor.file}`);
  return file.read(tensor.offset + start, length, allocate);
}

export const elementCount = (shape: readonly number[]): number => shape.reduce((product, n) => product * n, 1);

/** A name from a file, short enough for a message and free of control characters. */
export function shorten(name: string): string {
  const printable = name.slice(0, 80).replace(/\p{C}/gu, '\ufffd');
  return name.length > 80 ? `${printable}…` : printable;
}

function* pieces(header: Uint8Array, tensors: readonly TensorData[]): Generator<Uint8Array> {
  yield header;
  for (const tensor of tensors) yield* tensorPieces(tensor);
}

/** The bytes of a tensor to write. Throws, once all are given, if its type and shape need another number. */
export function* tensorPieces({ name, type, shape, bytes }: TensorData): Generator<Uint8Array> {
  let written = 0;
  for (const piece of bytes instanceof Uint8Array ? [bytes] : bytes) {
    written += piece.length;
    yield piece;
  }
  const expected = typeBytes(type, elementCount(shape));
  if (written !== expected) throw new Error(`${name}: ${written} bytes given, its shape needs ${expected}`);
}

function weightsIn(directory: string): string {
  const candidates = ['model.safetensors', 'model.safetensors.index.json'].map((name) => join(directory, name));
  const found = candidates.find((path) => existsSync(path));
  if (found !== undefined) return found;
  const names = readdirSync(directory);
  const gguf = names.find((name) => name.endsWith('.gguf'));
  const pickle = names.find((name) => /^pytorch_model.*\.bin$/.test(name));
  throw userError(
    'not-found',
    `${directory} holds no model.safetensors and no model.safetensors.index.json.`,
    gguf !== undefined
      ? `Name the file itself: ${join(directory, gguf)}.`
      : pickle !== undefined
        ? `Convert ${pickle} to safetensors first.`
        : 'Name the folder of a Hugging Face model, or a GGUF file.',
  );
}

function parseObject(path: string, text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw bad(path, 'its header is not JSON');
  }
  if (!isRecord(value)) throw bad(path, 'its header is not a JSON object');
  return value;
}

function stringMap(path: string, value: unknown): Map<string, string> {
  if (value === undefined) return new Map();
  const entries = isRecord(value) ? Object.entries(value) : null;
  if (entries === null || !entries.every((entry): entry is [string, string] => typeof entry[1] === 'string'))
    throw bad(path, 'its metadata is not a map of strings');
  return new Map(entries);
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

const isDirectory = (path: string): boolean => statOf(path)?.isDirectory() ?? false;
