/**
 * Writes ONNX models (protobuf, onnx.proto3) of the few message types that graphs in memory need. Large initialisers stay
 * outside the bytes: they are named by location, offset and length, and handed to the runtime beside the model.
 */

const onnxTypes = {
  float32: 1,
  int32: 6,
  int64: 7,
  float64: 11,
} as const;
export type OnnxType = keyof typeof onnxTypes;

export type OnnxAttribute = number | string | readonly number[];

export interface OnnxNode {
  readonly operator: string;
  readonly domain: string;
  /** An empty name leaves an optional input or output out. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Whole numbers are written as ints. */
  readonly attributes: Readonly<Record<string, OnnxAttribute>>;
}

export interface OnnxInitialiser {
  readonly name: string;
  readonly type: OnnxType;
  readonly shape: readonly number[];
  readonly data:
    { readonly inline: Uint8Array } | { readonly location: string; readonly offset: number; readonly length: number };
}

export interface OnnxValue {
  readonly name: string;
  readonly type: OnnxType;
  /** A name represents a size known only at run time. */
  readonly shape: readonly (number | string)[];
}

interface OnnxGraph {
  readonly nodes: readonly OnnxNode[];
  readonly initialisers: readonly OnnxInitialiser[];
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
}

/** IR 10, opset 23 and ONNX Runtime's contrib operators. */
export function encodeOnnx(graph: OnnxGraph): Uint8Array {
  const model = new Writer();
  model.integer(1, 10);
  model.message(7, encodeGraph(graph));
  for (const [domain, version] of [
    ['', 23],
    ['com.microsoft', 1],
  ] as const) {
    model.message(8, new Writer().string(1, domain).integer(2, version));
  }
  return model.bytes();
}

function encodeGraph(graph: OnnxGraph): Writer {
  const writer = new Writer();
  for (const node of graph.nodes) writer.message(1, encodeNode(node));
  writer.string(2, 'graph');
  for (const initialiser of graph.initialisers) writer.message(5, encodeInitialiser(initialiser));
  for (const value of graph.inputs) writer.message(11, encodeValue(value));
  for (const value of graph.outputs) writer.message(12, encodeValue(value));
  return writer;
}

function encodeNode(node: OnnxNode): Writer {
  const writer = new Writer();
  for (const input of node.inputs) writer.string(1, input);
  for (const output of node.outputs) writer.string(2, output);
  writer.string(4, node.operator);
  for (const [name, value] of Object.entries(node.attributes)) writer.message(5, encodeAttribute(name, value));
  if (node.domain) writer.string(7, node.domain);
  return writer;
}

function encodeAttribute(name: string, value: OnnxAttribute): Writer {
  const writer = new Writer().string(1, name);
  if (typeof value === 'string') return writer.string(4, value).integer(20, 3);
  if (typeof value === 'number')
    return Number.isInteger(value) ? writer.integer(3, value).integer(20, 2) : writer.float(2, value).integer(20, 1);
  for (const item of value) writer.integer(8, item);
  return writer.integer(20, 7);
}

function encodeInitialiser(initialiser: OnnxInitialiser): Writer {
  const writer = new Writer();
  for (const size of initialiser.shape) writer.integer(1, size);
  writer.integer(2, onnxTypes[initialiser.type]).string(8, initialiser.name);
  if ('inline' in initialiser.data) return writer.raw(9, initialiser.data.inline);
  const { location, offset, length } = initialiser.data;
  for (const [key, value] of [
    ['location', location],
    ['offset', String(offset)],
    ['length', String(length)],
  ] as const) {
    writer.message(13, new Writer().string(1, key).string(2, value));
  }
  return writer.integer(14, 1); // data_location: EXTERNAL
}

function encodeValue(value: OnnxValue): Writer {
  const shape = new Writer();
  for (const size of value.shape) {
    shape.message(1, typeof size === 'number' ? new Writer().integer(1, size) : new Writer().string(2, size));
  }
  const tensor = new Writer().integer(1, onnxTypes[value.type]).message(2, shape);
  return new Writer().string(1, value.name).message(2, new Writer().message(1, tensor));
}

/** Protobuf wire format: varints, 32-bit floats and length-delimited fields. */
class Writer {
  private readonly chunks: Uint8Array[] = [];
  private length = 0;

  integer(field: number, value: number): this {
    return this.varint(field * 8).varint(value);
  }
  float(field: number, value: number): this {
    return this.varint(field * 8 + 5).push(new Uint8Array(Float32Array.of(value).buffer));
  }
  string(field: number, value: string): this {
    return this.raw(field, new TextEncoder().encode(value));
  }
  message(field: number, writer: Writer): this {
    this.varint(field * 8 + 2).varint(writer.length);
    for (const chunk of writer.chunks) this.push(chunk);
    return this;
  }
  raw(field: number, bytes: Uint8Array): this {
    return this.varint(field * 8 + 2)
      .varint(bytes.byteLength)
      .push(bytes);
  }
  bytes(): Uint8Array {
    const all = new Uint8Array(this.length);
    let offset = 0;
    for (const chunk of this.chunks) {
      all.set(chunk, offset);
      offset += chunk.byteLength;
    }
    return all;
  }
  private varint(value: number): this {
    const bytes: number[] = [];
    let rest = BigInt.asUintN(64, BigInt(value)); // a negative int64 takes ten bytes
    do {
      const low = Number(rest & 127n);
      rest >>= 7n;
      bytes.push(rest ? low | 128 : low);
    } while (rest);
    return this.push(Uint8Array.from(bytes));
  }
  private push(chunk: Uint8Array): this {
    this.chunks.push(chunk);
    this.length += chunk.byteLength;
    return this;
  }
}
