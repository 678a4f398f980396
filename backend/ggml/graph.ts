/**
 * One graph of ggml: its context, its inputs and outputs, and the memory between them, built once and computed often. Values
 * are matrices `[width, columns]` of float32, a column a token. Knows operators, no model.
 */
import { contextBytes, newContext, noMemory, ProcessorFailure, type Processor } from './processor.ts';
import { types, type Allocator, type Context, type Graph, type Tensor, type TypeName } from './library.ts';

export interface Value {
  readonly tensor: Tensor;
  readonly width: number;
  /** Bytes from a column to the next, if other data is between them. */
  readonly stride?: number;
  /** If the value is a SiLU, its argument: multiplied with another value, both become one operator. */
  readonly siluOf?: Tensor;
  /** All numbers are zero, so adding it changes nothing. */
  readonly isZero?: boolean;
}

export interface GraphSketch {
  readonly context: Context;
  readonly graph: Graph;
  /** An input by name, made on first use. */
  input(name: string, type: TypeName, ...shape: number[]): Tensor;
  /** Something that is read after computing. */
  output(name: string, tensor: Tensor): void;
  /** Something that is computed for what it writes. */
  effect(tensor: Tensor): void;
}

export interface BuiltGraph {
  /** Bytes of what describes it, and of the memory between inputs and outputs. */
  readonly bytes: number;
  readonly inputs: readonly string[];
  set(name: string, data: ArrayBufferView): void;
  compute(): void;
  get(name: string, into: ArrayBufferView): void;
  dispose(): void;
}

/** Builds a graph of at most `nodes` operators. @throws UserError `out-of-memory`. */
export function buildGraph(processor: Processor, nodes: number, sketch: (graph: GraphSketch) => void): BuiltGraph {
  const { library } = processor;
  const context = newContext(library, 2 * nodes, nodes);
  const described = contextBytes(library, 2 * nodes, nodes);
  const graph = library.newGraph(context, nodes, false);
  const inputs = new Map<string, Tensor>();
  const outputs = new Map<string, Tensor>();
  const allocator = library.newAllocator(processor.plain);
  const dispose = (): void => {
    library.freeAllocator(allocator);
    library.free(context);
  };
  try {
    sketch({
      context,
      graph,
      input(name, type, ...shape) {
        let tensor = inputs.get(name);
        if (tensor === undefined) {
          const [a = 1, b = 1, c = 1, d = 1] = shape;
          tensor =
            shape.length === 1
              ? library.newTensor1(context, types[type], a)
              : library.newTensor4(context, types[type], a, b, c, d);
          library.setInput(tensor);
          inputs.set(name, tensor);
        }
        return tensor;
      },
      output(name, tensor) {
        library.setOutput(tensor);
        library.expand(graph, tensor);
        outputs.set(name, tensor);
      },
      effect: (tensor) => library.expand(graph, tensor),
    });
    if (processor.isGpu) checkOperators(processor, graph);
    allocate(processor, allocator, graph);
  } catch (error) {
    dispose();
    throw error;
  }
  return {
    bytes: described + library.allocatorSize(allocator, 0),
    inputs: [...inputs.keys()],
    set: (name, data) => library.set(inputs.get(name)!, data, 0, data.byteLength),
    compute: () => processor.compute(graph),
    get: (name, into) => library.get(outputs.get(name)!, into, 0, into.byteLength),
    dispose,
  };
}

function allocate(processor: Processor, allocator: Allocator, graph: Graph): void {
  if (!processor.library.allocateGraph(allocator, graph)) {
    const wayOut = 'Close other programs, or take a smaller model or a shorter text.';
    throw noMemory(processor, 'what a pass computes', wayOut);
  }
}

/** A GPU ends the process over an operator that it does not have. */
function checkOperators(processor: Processor, graph: Graph): void {
  const { library } = processor;
  for (let i = 0; i < library.graphNodes(graph); i++) {
    const node = library.graphNode(graph, i);
    if (!processor.supports(node)) throw new ProcessorFailure(`it has no ${library.operatorName(node)} for this model`);
  }
}
