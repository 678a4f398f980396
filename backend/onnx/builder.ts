/** Collects an ONNX graph node by node. Knows operators' shape, not their meaning; the weights stay outside the bytes. */
import {
  encodeOnnx,
  type OnnxAttribute,
  type OnnxInitialiser,
  type OnnxNode,
  type OnnxType,
  type OnnxValue,
} from './encode.ts';

/** A graph ready for a session: its bytes, and the data of its large initialisers by location. */
export interface BuiltGraph {
  readonly bytes: Uint8Array;
  readonly externalData: readonly { readonly path: string; readonly data: Uint8Array }[];
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
  readonly nodeCount: number;
}

type Typed = Float32Array | Int32Array | BigInt64Array;

/** Below this, a constant is stored in the graph itself. */
const inlineLimit = 1024;

export class GraphBuilder {
  private readonly nodes: OnnxNode[] = [];
  private readonly initialisers: OnnxInitialiser[] = [];
  private readonly external: { path: string; data: Uint8Array }[] = [];
  private readonly inputs: OnnxValue[] = [];
  private readonly outputs: OnnxValue[] = [];
  private readonly constants = new Map<string, string>();
  /** Values that became outputs, by the output's name: nodes write them under that name, without a copy. */
  private readonly renamed = new Map<string, string>();
  private count = 0;

  /** Adds a node with one output. */
  node(
    operator: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, OnnxAttribute>> = {},
    domain = '',
  ): string {
    const name = this.fresh(operator);
    this.nodes.push({ operator, domain, inputs, outputs: [name], attributes });
    return name;
  }

  input(name: string, type: OnnxType, shape: readonly (number | string)[]): string {
    this.inputs.push({ name, type, shape });
    return name;
  }

  output(value: string, name: string, type: OnnxType, shape: readonly (number | string)[]): void {
    const isNodeOutput = this.nodes.some(({ outputs }) => outputs.includes(value));
    if (isNodeOutput && !this.renamed.has(value)) this.renamed.set(value, name);
    else this.nodes.push({ operator: 'Identity', domain: '', inputs: [value], outputs: [name], attributes: {} });
    this.outputs.push({ name, type, shape });
  }

  /** A small constant, shared by equal content. */
  constant(data: Float32Array | BigInt64Array, shape: readonly number[]): string {
    const key = `${data.constructor.name}[${shape.join()}]${data.join()}`;
    const known = this.constants.get(key);
    if (known !== undefined) return known;
    const name = this.initialiser(this.fresh('constant'), data, shape);
    this.constants.set(key, name);
    return name;
  }

  /** An int64 vector. */
  ints(values: readonly number[]): string {
    return this.constant(BigInt64Array.from(values, BigInt), [values.length]);
  }

  scalar(value: number): string {
    return this.constant(Float32Array.of(value), []);
  }

  /** A weight; an existing name is not added again. */
  initialiser(name: string, data: Typed, shape: readonly number[], type: OnnxType = typeOf(data)): string {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    if (bytes.byteLength < inlineLimit) {
      this.initialisers.push({ name, type, shape, data: { inline: bytes } });
    } else {
      this.initialisers.push({ name, type, shape, data: { location: name, offset: 0, length: bytes.byteLength } });
      this.external.push({ path: name, data: bytes });
    }
    return name;
  }

  build(): BuiltGraph {
    const { initialisers, inputs, outputs, renamed } = this;
    const rename = (value: string): string => renamed.get(value) ?? value;
    const nodes = this.nodes.map((node) => ({
      ...node,
      inputs: node.inputs.map(rename),
      outputs: node.outputs.map(rename),
    }));
    return {
      bytes: encodeOnnx({ nodes, initialisers, inputs, outputs }),
      externalData: this.external,
      inputs,
      outputs,
      nodeCount: nodes.length,
    };
  }

  private fresh(prefix: string): string {
    return `${prefix}_${this.count++}`;
  }
}

function typeOf(data: Typed): OnnxType {
  if (data instanceof Float32Array) return 'float32';
  return data instanceof BigInt64Array ? 'int64' : 'int32';
}
