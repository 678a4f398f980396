/**
 * Chooses where the CPU keeps a weight, and in which type: in the first buffer type whose products, tried here, give a token the same bits
 * whatever the other tokens of a pass. Knows no model.
 */
import { widerBlocks } from '../formats/widen.ts';
import { blockInfo } from '../formats/dequantise.ts';
import {
  types,
  type BufferType,
  type Context,
  type Device,
  type Library,
  type Tensor,
  type TypeName,
} from './library.ts';
import {
  encode,
  fewTogether,
  newContext,
  tileStep,
  type ManyPlacement,
  type Placement,
  type Processor,
} from './processor.ts';

export interface Shape {
  readonly type: TypeName;
  readonly columns: number;
  readonly rows: number;
  /** Matrices of this shape; of several, each token is multiplied by one that is chosen for it. */
  readonly experts: number;
}

/** Experts of the products that are compared, at most. */
export const triedExperts = 3;

/**
 * The first buffer type that can multiply with such a weight and gives a token the same bits in every pass. Blocks that no buffer type
 * takes become wider ones of the same numbers if one takes those: more memory, half of the time.
 */
export function choosePlacement(
  cpu: Processor,
  device: Device,
  repacking: readonly BufferType[],
  shape: Shape,
): Omit<Placement, 'alone'> {
  const wider = widerBlocks(shape.type);
  for (const type of wider === null ? [shape.type] : [shape.type, wider])
    for (const bufferType of repacking) {
      const tried = { ...shape, type };
      if (!supports(cpu.library, device, bufferType, tried)) continue;
      const order = orderIn(cpu, bufferType, tried);
      if (order.isEven) return { type, bufferType, ...order };
    }
  return { type: shape.type, bufferType: cpu.plain, ...orderIn(cpu, cpu.plain, shape) };
}

/**
 * How many tokens are multiplied faster one by one than at once. For several tokens AMX first unpacks the weights, which takes as
 * long for two as for eight; for one they are taken as they lie. Large matrices come from memory each time. The kernels for several
 * tokens of plain blocks need some more before they are faster, wherever the matrix lies.
 */
export function tokensAlone(bufferType: string, type: TypeName, numbers: number): number {
  if (bufferType === 'AMX') return numbers <= mostAlone ? (slowToUnpack[type] ?? 1) : 1;
  return bufferType === 'CPU' ? (slowForFew[type] ?? 1) : 1;
}

const mostAlone = 1 << 22;
/** Tokens, as measured on a Xeon. */
const slowToUnpack: Partial<Record<TypeName, number>> = { Q4_0: 3, Q4_1: 3, Q4_K: 2, IQ4_XS: 2, Q6_K: 2 };
/** Tokens, as measured on an EPYC, with AVX2 and with AVX-512. */
const slowForFew: Partial<Record<TypeName, number>> = { Q8_0: 3, Q5_0: 2 };

/** Elements of a block of Q8_0. */
const byteBlock = 32;
const floats: ReadonlySet<TypeName> = new Set(['F32', 'F16', 'BF16']);

/** The type and the buffer type in which a weight is fastest for many tokens at once. */
export function placementForMany(
  { library, plain }: Processor,
  device: Device,
  repacking: readonly BufferType[],
  shape: Shape,
): ManyPlacement {
  const fastIn = (type: TypeName): BufferType | undefined =>
    repacking.find((bufferType) => supports(library, device, bufferType, { ...shape, type }));
  const own = floats.has(shape.type) ? undefined : fastIn(shape.type);
  if (own !== undefined) return { type: shape.type, bufferType: own };
  // Floats, and blocks that no kernel repacks, are rounded to bytes, as products round the other side.
  const type = shape.columns % byteBlock === 0 ? 'Q8_0' : shape.type;
  return { type, bufferType: fastIn(type) ?? plain };
}

/** What a kernel does depends on the rows' remainder, not on how many there are. */
export const fewRows = (rows: number): number => Math.min(rows, 64 + (rows % 64));

function supports(library: Library, device: Device, bufferType: BufferType, shape: Shape): boolean {
  const weights = newContext(library, 2);
  const weight = weightOf(library, weights, shape);
  const buffer = library.allocate(weights, bufferType);
  const products = newContext(library, 4);
  const { product } = productOf(library, products, weight, shape, 512);
  const supported = buffer !== null && library.deviceSupports(device, product);
  library.free(products);
  if (buffer !== null) library.freeBuffer(buffer);
  library.free(weights);
  return supported;
}

const weightOf = (library: Library, context: Context, { type, columns, rows, experts }: Shape): Tensor =>
  experts === 1
    ? library.newTensor2(context, types[type], columns, rows)
    : library.newTensor3(context, types[type], columns, rows, experts);

/** The product with the tokens `x`, `each` at once; of experts, with the one that `chosen` names for each token. */
function productOf(
  library: Library,
  context: Context,
  weight: Tensor,
  { columns, experts }: Shape,
  count: number,
  each = count,
): { product: Tensor; x: Tensor; chosen: Tensor | null } {
  if (experts === 1) {
    const x = library.newTensor3(context, types.F32, columns, each, count / each);
    return { product: library.mulMat(context, weight, x), x, chosen: null };
  }
  const x = library.newTensor3(context, types.F32, columns, 1, count);
  const chosen = library.newTensor2(context, types.I32, 1, count);
  return { product: library.mulMatId(context, weight, x, chosen), x, chosen };
}

/** Tokens of the products that are compared: what kernels treat apart. */
const passes = [1, 2, 3, 4, 5, 8, 16];
const tiles = passes.filter((count) => count % tileStep === 0);

/** A multiple of every number of `fewTogether`, and more than the passes that are compared with it. */
const mostFew = 6;

/** How many tokens go through one product so that each has the same bits in every pass: see `Placement`. */
function orderIn(cpu: Processor, bufferType: BufferType, shape: Shape): Pick<Placement, 'few' | 'isEven'> {
  const trial = openTrial(cpu, bufferType, shape);
  if (trial === null) return { few: null, isEven: false };
  try {
    const sums = new Map(passes.map((count) => [count, trial.products(count)]));
    const of = (counts: readonly number[]): Float32Array[] => counts.map((count) => sums.get(count)!);
    if (isEven(of(passes))) return { few: null, isEven: true };
    if (shape.experts > 1 || !isEven(of(tiles))) return { few: null, isEven: false };
    const isAlike = (few: number): boolean => {
      const together = fewTogether[few]!.map((each) => trial.products(mostFew, each));
      return isEven([...of(passes.filter((count) => count <= few)), ...together]);
    };
    const few = [3, 1].find(isAlike);
    return { few: few ?? null, isEven: few !== undefined };
  } finally {
    trial.close();
  }
}

interface Trial {
  /** Of the weight with `count` tokens, `each` of them at once (all by default): `[count · rows]`. */
  products(count: number, each?: number): Float32Array;
  close(): void;
}

/** A made-up weight in its place; null without memory. */
function openTrial(cpu: Processor, bufferType: BufferType, shape: Shape): Trial | null {
  const { library } = cpu;
  const { type, columns, rows, experts } = shape;
  const weights = newContext(library, 2);
  const weight = weightOf(library, weights, shape);
  const buffer = library.allocate(weights, bufferType);
  if (buffer === null) {
    library.free(weights);
    return null;
  }
  const numbers = rows * columns * experts;
  const stored = slowToQuantise.has(type)
    ? randomBlocks(type, numbers)
    : encode(library, type, unevenNumbers(numbers), rows * experts, columns);
  library.set(weight, stored, 0, stored.byteLength);
  const tokens = unevenNumbers(Math.max(...passes) * columns);
  return {
    products(count, each) {
      const context = newContext(library, 8, 8);
      const graph = library.newGraph(context, 8, false);
      const { product: y, x, chosen } = productOf(library, context, weight, shape, count, each);
      library.setInput(x);
      if (chosen !== null) library.setInput(chosen);
      library.setOutput(y);
      library.expand(graph, y);
      const allocator = library.newAllocator(cpu.plain);
      library.allocateGraph(allocator, graph);
      library.set(x, tokens, 0, count * columns * 4);
      const choices = Int32Array.from({ length: count }, (_, i) => i % experts);
      if (chosen !== null) library.set(chosen, choices, 0, choices.byteLength);
      cpu.compute(graph);
      const result = new Float32Array(count * rows);
      library.get(y, result, 0, result.byteLength);
      library.freeAllocator(allocator);
      library.free(context);
      return result;
    },
    close() {
      library.freeBuffer(buffer);
      library.free(weights);
    },
  };
}

/** Types whose quantisation searches for scales or first builds tables, for a tenth of a second to seconds. */
const slowToQuantise: ReadonlySet<TypeName> = new Set<TypeName>([
  'Q2_K',
  'Q3_K',
  'Q4_K',
  'Q5_K',
  'Q6_K',
  'IQ1_S',
  'IQ1_M',
  'IQ2_XXS',
  'IQ2_XS',
  'IQ2_S',
  'IQ3_XXS',
  'IQ3_S',
]);

/** The high bytes of a block's scales in 16 bits; in IQ1_M, of the last of the four that have them. */
const scalePlaces: Partial<Record<TypeName, readonly number[]>> = {
  Q2_K: [81, 83],
  Q3_K: [109],
  Q4_K: [1, 3],
  Q5_K: [1, 3],
  Q6_K: [209],
  IQ1_M: [55],
};

/** Blocks of uneven bytes with small scales. */
function randomBlocks(type: TypeName, elements: number): Uint8Array {
  const block = blockInfo(type);
  const bytes = new Uint8Array((elements / block.elements) * block.bytes);
  let state = 1;
  for (let i = 0; i < bytes.length; i++) bytes[i] = (state = nextState(state)) >>> 24;
  for (let from = 0; from < bytes.length; from += block.bytes)
    for (const place of scalePlaces[type] ?? [1]) bytes[from + place] = 0x20 | (bytes[from + place]! & 0x0f);
  return bytes;
}

/** Of a row of whole numbers of 32 bits that looks random (Numerical Recipes). */
const nextState = (state: number): number => (Math.imul(state, 1664525) + 1013904223) | 0;

/** Numbers of different sizes, so that their sums are rounded; the same each time. */
function unevenNumbers(count: number): Float32Array {
  const numbers = new Float32Array(count);
  let state = 1;
  for (let i = 0; i < count; i++) {
    state = nextState(state);
    numbers[i] = state / 2 ** 31;
  }
  return numbers;
}

/** Whether all products agree in every bit with that of most tokens, the last. */
function isEven(sums: readonly Float32Array[]): boolean {
  const all = sums.at(-1);
  return all !== undefined && sums.every((some) => some.every((value, i) => Object.is(value, all[i])));
}
