/**
 * The C functions of ggml that this program calls, through koffi, from the libraries of npm's `@node-llama-cpp/<platform>`. Only this
 * folder knows koffi and pointers; this file exports typed functions over branded handles. Knows no model.
 */
import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import type * as koffiTypes from 'koffi';
import { userError } from '../../protocol/errors.ts';
import { missingLibraries, nativePackage } from '../system/installed.ts';
import { packageName, packageVersion } from './packages.ts';

declare const kind: unique symbol;
/** A pointer that only the functions below may look at. */
type Handle<Name extends string> = bigint & { readonly [kind]: Name };
export type Context = Handle<'context'>;
export type Tensor = Handle<'tensor'>;
export type Graph = Handle<'graph'>;
export type Buffer = Handle<'buffer'>;
export type BufferType = Handle<'buffer type'>;
export type Backend = Handle<'backend'>;
export type Device = Handle<'device'>;
export type Registry = Handle<'registry'>;
export type Allocator = Handle<'allocator'>;
export type ThreadPool = Handle<'thread pool'>;
type Pointer = Handle<'pointer'>;
export type Address = Handle<'address'>;

type Bytes = ArrayBufferView;

/** `ggml_type` of what is stored and computed with. */
export const types = {
  F32: 0,
  F16: 1,
  Q4_0: 2,
  Q4_1: 3,
  Q5_0: 6,
  Q5_1: 7,
  Q8_0: 8,
  Q2_K: 10,
  Q3_K: 11,
  Q4_K: 12,
  Q5_K: 13,
  Q6_K: 14,
  IQ2_XXS: 16,
  IQ2_XS: 17,
  IQ3_XXS: 18,
  IQ1_S: 19,
  IQ4_NL: 20,
  IQ3_S: 21,
  IQ2_S: 22,
  IQ4_XS: 23,
  I32: 26,
  I64: 27,
  IQ1_M: 29,
  BF16: 30,
  TQ1_0: 34,
  TQ2_0: 35,
  MXFP4: 39,
} as const;
export type TypeName = keyof typeof types;

type Unary = (context: Context, a: Tensor) => Tensor;
type Binary = (context: Context, a: Tensor, b: Tensor) => Tensor;

/** The functions by our names. Sizes and offsets are in bytes, shapes innermost axis first. */
export interface Functions {
  init(params: { mem_size: number; mem_buffer: null; no_alloc: boolean }): Context;
  free(context: Context): void;
  tensorOverhead(): number;
  graphOverhead(nodes: number, grads: boolean): number;
  newTensor1(context: Context, type: number, a: number): Tensor;
  newTensor2(context: Context, type: number, a: number, b: number): Tensor;
  newTensor3(context: Context, type: number, a: number, b: number, c: number): Tensor;
  newTensor4(context: Context, type: number, a: number, b: number, c: number, d: number): Tensor;
  newGraph(context: Context, nodes: number, grads: boolean): Graph;
  expand(graph: Graph, tensor: Tensor): void;
  graphNodes(graph: Graph): number;
  graphNode(graph: Graph, index: number): Tensor;
  operatorName(tensor: Tensor): string;
  setInput(tensor: Tensor): void;
  setOutput(tensor: Tensor): void;
  rowSize(type: number, elements: number): number;
  quantise(type: number, from: Bytes, to: Bytes, start: number, rows: number, perRow: number, matrix: null): number;
  mulMat: Binary;
  /** Of each column of `b` `[width, 1 or chosen, columns]`, the products with the chosen matrices of `a`: `[rows, chosen, columns]`. */
  mulMatId(context: Context, a: Tensor, b: Tensor, chosen: Tensor): Tensor;
  add: Binary;
  sub: Binary;
  /** Adds the chosen rows of `b` to `a` `[width, chosen, columns]`. */
  addId(context: Context, a: Tensor, b: Tensor, chosen: Tensor): Tensor;
  mul: Binary;
  getRows: Binary;
  cpy: Binary;
  swigluSplit: Binary;
  swigluClamped(context: Context, gate: Tensor, up: Tensor, alpha: number, limit: number): Tensor;
  sigmoid: Unary;
  concat(context: Context, a: Tensor, b: Tensor, axis: number): Tensor;
  repeat4(context: Context, a: Tensor, x: number, y: number, z: number, w: number): Tensor;
  cont: Unary;
  cast(context: Context, a: Tensor, type: number): Tensor;
  clamp(context: Context, a: Tensor, least: number, most: number): Tensor;
  softMax: Unary;
  silu: Unary;
  gelu: Unary;
  geluErf: Unary;
  tanh: Unary;
  sqr: Unary;
  sumRows: Unary;
  rmsNorm(context: Context, a: Tensor, epsilon: number): Tensor;
  norm(context: Context, a: Tensor, epsilon: number): Tensor;
  scale(context: Context, a: Tensor, factor: number): Tensor;
  setRows(context: Context, a: Tensor, rows: Tensor, places: Tensor): Tensor;
  rope(
    context: Context,
    a: Tensor,
    positions: Tensor,
    factors: Tensor | null,
    dimensions: number,
    mode: number,
    originalContext: number,
    base: number,
    scale: number,
    extrapolation: number,
    attention: number,
    fast: number,
    slow: number,
  ): Tensor;
  flashAttention(
    context: Context,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor,
    scale: number,
    maxBias: number,
    softcap: number,
  ): Tensor;
  setFlashPrecision(tensor: Tensor, precision: number): void;
  addSinks(attention: Tensor, sinks: Tensor): void;
  softMaxMasked(context: Context, a: Tensor, mask: Tensor, scale: number, maxBias: number): Tensor;
  /** Places of the k largest of each row, in any order. */
  topK(context: Context, a: Tensor, k: number): Tensor;
  /** Of every `width` numbers of a row, `step` apart, one; `kind`: `enum ggml_op_pool`. */
  pool(context: Context, a: Tensor, kind: number, width: number, step: number, padding: number): Tensor;
  reshape2(context: Context, a: Tensor, x: number, y: number): Tensor;
  reshape3(context: Context, a: Tensor, x: number, y: number, z: number): Tensor;
  reshape4(context: Context, a: Tensor, x: number, y: number, z: number, w: number): Tensor;
  view2(context: Context, a: Tensor, x: number, y: number, stride: number, offset: number): Tensor;
  view4(
    context: Context,
    a: Tensor,
    x: number,
    y: number,
    z: number,
    w: number,
    strideY: number,
    strideZ: number,
    strideW: number,
    offset: number,
  ): Tensor;
  permute(context: Context, a: Tensor, x: number, y: number, z: number, w: number): Tensor;
  loadAll(folder: string): void;
  load(file: string): Registry | null;
  deviceCount(): number;
  device(index: number): Device;
  deviceType(device: Device): number;
  deviceName(device: Device): string;
  deviceRegistry(device: Device): Registry;
  deviceBufferType(device: Device): BufferType;
  deviceSupports(device: Device, tensor: Tensor): boolean;
  initDevice(device: Device, parameters: null): Backend;
  function(registry: Registry, name: string): Pointer | null;
  bufferTypeName(bufferType: BufferType): string;
  allocate(context: Context, bufferType: BufferType): Buffer | null;
  newBuffer(bufferType: BufferType, bytes: number): Buffer | null;
  bufferBase(buffer: Buffer): Address;
  /** Bytes of a tensor in such a buffer, and the alignment of its address there. */
  placeBytes(bufferType: BufferType, tensor: Tensor): number;
  placeStep(bufferType: BufferType): number;
  placeTensor(buffer: Buffer, tensor: Tensor, at: Address): number;
  freeBuffer(buffer: Buffer): void;
  bufferSize(buffer: Buffer): number;
  clearBuffer(buffer: Buffer, value: number): void;
  markWeights(buffer: Buffer, usage: number): void;
  set(tensor: Tensor, data: Bytes, offset: number, size: number): void;
  get(tensor: Tensor, data: Bytes, offset: number, size: number): void;
  newAllocator(bufferType: BufferType): Allocator;
  freeAllocator(allocator: Allocator): void;
  allocateGraph(allocator: Allocator, graph: Graph): boolean;
  allocatorSize(allocator: Allocator, index: number): number;
  compute(backend: Backend, graph: Graph): number;
  setLog(callback: Pointer, user: null): void;
}

/** The library of a function, and its C prototype. */
type Prototype = readonly [library: 'ggml-base' | 'ggml', prototype: string];
const base = (prototype: string): Prototype => ['ggml-base', prototype];
const unary = (name: string): Prototype => base(`void *ggml_${name}(void *ctx, void *a)`);
const binary = (name: string): Prototype => base(`void *ggml_${name}(void *ctx, void *a, void *b)`);
const top = (prototype: string): Prototype => ['ggml', prototype];

const prototypes: Readonly<Record<keyof Functions, Prototype>> = {
  init: base('void *ggml_init(ggml_init_params p)'),
  free: base('void ggml_free(void *ctx)'),
  tensorOverhead: base('size_t ggml_tensor_overhead()'),
  graphOverhead: base('size_t ggml_graph_overhead_custom(size_t n, bool grads)'),
  newTensor1: base('void *ggml_new_tensor_1d(void *ctx, int type, int64_t a)'),
  newTensor2: base('void *ggml_new_tensor_2d(void *ctx, int type, int64_t a, int64_t b)'),
  newTensor3: base('void *ggml_new_tensor_3d(void *ctx, int type, int64_t a, int64_t b, int64_t c)'),
  newTensor4: base('void *ggml_new_tensor_4d(void *ctx, int type, int64_t a, int64_t b, int64_t c, int64_t d)'),
  newGraph: base('void *ggml_new_graph_custom(void *ctx, size_t n, bool grads)'),
  expand: base('void ggml_build_forward_expand(void *g, void *t)'),
  graphNodes: base('int ggml_graph_n_nodes(void *g)'),
  graphNode: base('void *ggml_graph_node(void *g, int i)'),
  operatorName: base('const char *ggml_op_desc(void *t)'),
  setInput: base('void ggml_set_input(void *t)'),
  setOutput: base('void ggml_set_output(void *t)'),
  rowSize: base('size_t ggml_row_size(int type, int64_t n)'),
  quantise: base(
    'size_t ggml_quantize_chunk(int type, void *from, void *to, int64_t start, int64_t rows, int64_t n, void *m)',
  ),
  mulMat: binary('mul_mat'),
  mulMatId: base('void *ggml_mul_mat_id(void *ctx, void *a, void *b, void *ids)'),
  add: binary('add'),
  sub: binary('sub'),
  addId: base('void *ggml_add_id(void *ctx, void *a, void *b, void *ids)'),
  mul: binary('mul'),
  getRows: binary('get_rows'),
  cpy: binary('cpy'),
  swigluSplit: binary('swiglu_split'),
  swigluClamped: base('void *ggml_swiglu_oai(void *ctx, void *a, void *b, float alpha, float limit)'),
  sigmoid: unary('sigmoid'),
  concat: base('void *ggml_concat(void *ctx, void *a, void *b, int axis)'),
  repeat4: base('void *ggml_repeat_4d(void *ctx, void *a, int64_t x, int64_t y, int64_t z, int64_t w)'),
  cont: unary('cont'),
  cast: base('void *ggml_cast(void *ctx, void *a, int type)'),
  clamp: base('void *ggml_clamp(void *ctx, void *a, float least, float most)'),
  softMax: unary('soft_max'),
  silu: unary('silu'),
  gelu: unary('gelu'),
  geluErf: unary('gelu_erf'),
  tanh: unary('tanh'),
  sqr: unary('sqr'),
  sumRows: unary('sum_rows'),
  rmsNorm: base('void *ggml_rms_norm(void *ctx, void *a, float epsilon)'),
  norm: base('void *ggml_norm(void *ctx, void *a, float epsilon)'),
  scale: base('void *ggml_scale(void *ctx, void *a, float s)'),
  setRows: base('void *ggml_set_rows(void *ctx, void *a, void *b, void *c)'),
  rope: base(
    'void *ggml_rope_ext(void *ctx, void *a, void *at, void *factors, int dims, int mode, int context, float base, float scale, float ext, float attn, float fast, float slow)',
  ),
  flashAttention: base(
    'void *ggml_flash_attn_ext(void *ctx, void *q, void *k, void *v, void *mask, float scale, float bias, float cap)',
  ),
  setFlashPrecision: base('void ggml_flash_attn_ext_set_prec(void *a, int precision)'),
  addSinks: base('void ggml_flash_attn_ext_add_sinks(void *a, void *sinks)'),
  softMaxMasked: base('void *ggml_soft_max_ext(void *ctx, void *a, void *mask, float scale, float bias)'),
  topK: base('void *ggml_top_k(void *ctx, void *a, int k)'),
  pool: base('void *ggml_pool_1d(void *ctx, void *a, int kind, int width, int step, int padding)'),
  reshape2: base('void *ggml_reshape_2d(void *ctx, void *a, int64_t x, int64_t y)'),
  reshape3: base('void *ggml_reshape_3d(void *ctx, void *a, int64_t x, int64_t y, int64_t z)'),
  reshape4: base('void *ggml_reshape_4d(void *ctx, void *a, int64_t x, int64_t y, int64_t z, int64_t w)'),
  view2: base('void *ggml_view_2d(void *ctx, void *a, int64_t x, int64_t y, size_t sy, size_t offset)'),
  view4: base(
    'void *ggml_view_4d(void *ctx, void *a, int64_t x, int64_t y, int64_t z, int64_t w, size_t sy, size_t sz, size_t sw, size_t offset)',
  ),
  permute: base('void *ggml_permute(void *ctx, void *a, int x, int y, int z, int w)'),
  loadAll: top('void ggml_backend_load_all_from_path(const char *dir)'),
  load: top('void *ggml_backend_load(const char *file)'),
  deviceCount: top('size_t ggml_backend_dev_count()'),
  device: top('void *ggml_backend_dev_get(size_t i)'),
  deviceType: base('int ggml_backend_dev_type(void *d)'),
  deviceName: base('const char *ggml_backend_dev_name(void *d)'),
  deviceRegistry: base('void *ggml_backend_dev_backend_reg(void *d)'),
  deviceBufferType: base('void *ggml_backend_dev_buffer_type(void *d)'),
  deviceSupports: base('bool ggml_backend_dev_supports_op(void *d, void *t)'),
  initDevice: base('void *ggml_backend_dev_init(void *d, const char *p)'),
  function: base('void *ggml_backend_reg_get_proc_address(void *reg, const char *name)'),
  bufferTypeName: base('const char *ggml_backend_buft_name(void *b)'),
  allocate: base('void *ggml_backend_alloc_ctx_tensors_from_buft(void *ctx, void *buft)'),
  newBuffer: base('void *ggml_backend_buft_alloc_buffer(void *buft, size_t bytes)'),
  bufferBase: base('void *ggml_backend_buffer_get_base(void *b)'),
  placeBytes: base('size_t ggml_backend_buft_get_alloc_size(void *buft, void *t)'),
  placeStep: base('size_t ggml_backend_buft_get_alignment(void *buft)'),
  placeTensor: base('int ggml_backend_tensor_alloc(void *b, void *t, void *at)'),
  freeBuffer: base('void ggml_backend_buffer_free(void *b)'),
  bufferSize: base('size_t ggml_backend_buffer_get_size(void *b)'),
  clearBuffer: base('void ggml_backend_buffer_clear(void *b, uint8_t v)'),
  markWeights: base('void ggml_backend_buffer_set_usage(void *b, int u)'),
  set: base('void ggml_backend_tensor_set(void *t, void *data, size_t offset, size_t size)'),
  get: base('void ggml_backend_tensor_get(void *t, void *data, size_t offset, size_t size)'),
  newAllocator: base('void *ggml_gallocr_new(void *buft)'),
  freeAllocator: base('void ggml_gallocr_free(void *g)'),
  allocateGraph: base('bool ggml_gallocr_alloc_graph(void *g, void *graph)'),
  allocatorSize: base('size_t ggml_gallocr_get_buffer_size(void *g, int i)'),
  compute: base('int ggml_backend_graph_compute(void *backend, void *graph)'),
  setLog: base('void ggml_log_set(void *callback, void *user)'),
};

export interface Library extends Functions {
  /** Folder of the libraries. */
  readonly folder: string;
  /** A function that a device's registry has under a name, not the library; null if it has none. */
  extra<F>(registry: Registry, name: string, returns: string, parameters: string): F | null;
  /**
   * Lays memory that is in use out in large pages, in another thread, if the system can: a token of large weights then takes
   * a fifth less, since a page of 2 MB is looked up once.
   */
  collapse(from: bigint, bytes: number): Promise<void>;
  /**
   * From now on large blocks of memory return to the system when they are freed. The C library would otherwise keep ever larger ones, in
   * pieces that do not fit graphs of other shapes. For the whole process; without glibc nothing changes.
   */
  giveBackLarge(): void;
  /** Sets all of a tensor in another thread: a buffer that repacks weights takes as long for it as reading them. */
  setBeside(tensor: Tensor, data: Bytes): Promise<void>;
  /** The strings or handles of an array of pointers that ends with null, `step` pointers apart. */
  list<T extends bigint>(array: bigint, step?: number): T[];
}

type Koffi = typeof koffiTypes;

let isDescribed = false;
let opened: { readonly folder: string; readonly library: Library } | null = null;

/**
 * Loads the libraries of a folder and finds every function in them. Loading twice gives the first again.
 * @throws UserError `device` naming the library and the symbol that is missing.
 */
export function openLibrary(folder: string): Library {
  if (opened?.folder === folder) return opened.library;
  const koffi = loadKoffi();
  const libraries = {
    'ggml-base': load(koffi, folder, /^(lib)?ggml-base\b.*\.(so|dylib|dll)$/),
    ggml: load(koffi, folder, /^(lib)?ggml(\.[\w.]+)?\.(so|dylib|dll)$/),
  };
  // Koffi takes a name once, also if the functions were not all found.
  if (!isDescribed) koffi.struct('ggml_init_params', { mem_size: 'size_t', mem_buffer: 'void *', no_alloc: 'bool' });
  isDescribed = true;
  const functions = Object.fromEntries(
    Object.entries(prototypes).map(([name, [library, prototype]]) => {
      const { file, handle } = libraries[library];
      try {
        return [name, handle.func(prototype)];
      } catch (cause) {
        const symbol = /(\w+)\(/.exec(prototype)![1]!;
        throw userError(
          'device',
          `${file} has no function ${symbol}.`,
          `Install ${packageName() ?? 'ggml'} in version ${packageVersion}.`,
          cause,
        );
      }
    }),
  ) as unknown as Functions;
  const named = new Map<string, ReturnType<typeof koffi.proto>>();
  const advise = adviser(koffi);
  const setAllocation = allocationSetter(koffi);
  const library: Library = {
    ...functions,
    folder,
    extra<F>(registry: Registry, name: string, returns: string, parameters: string): F | null {
      const pointer = functions.function(registry, name);
      if (!pointer) return null;
      const proto = named.get(name) ?? koffi.proto(`${returns} early_exit_${name}(${parameters})`);
      named.set(name, proto);
      return koffi.decode(pointer, proto) as F;
    },
    collapse: (from, bytes) =>
      new Promise((resolve) => {
        // If the system has no room for large pages, memory stays as it is.
        if (advise === null) resolve();
        else advise.async(from, BigInt(bytes), adviceCollapse, () => resolve());
      }),
    giveBackLarge: () => void setAllocation?.(mmapThreshold, largeBlock),
    setBeside: (tensor, data) =>
      new Promise((resolve, reject) =>
        (functions.set as unknown as koffiTypes.KoffiFunc<Functions['set']>).async(
          tensor,
          data,
          0,
          data.byteLength,
          (error: Error | null) => (error === null ? resolve() : reject(error)),
        ),
      ),
    list<T extends bigint>(array: bigint, step = 1): T[] {
      const found: T[] = [];
      for (let i = 0; ; i += step) {
        const item = koffi.decode(array, i * 8, 'void *') as T | null;
        if (!item) return found;
        found.push(item);
      }
    },
  };
  // ggml writes to stderr. A function that takes nothing and does nothing is called in place of its printing.
  library.setLog(koffi.address(libraries['ggml-base'].handle.symbol('ggml_time_us', 'void')) as Pointer, null);
  opened = { folder, library };
  return library;
}

/** @throws UserError `device` if it is not installed. */
function loadKoffi(): Koffi {
  const file = nativePackage('koffi');
  if (file === null)
    throw userError(
      'device',
      `ggml cannot be called: ${missingLibraries()}.`,
      '"early-exit doctor" names the command.',
    );
  return createRequire(import.meta.url)(file) as Koffi;
}

/** `MADV_COLLAPSE` of Linux since 6.1. */
const adviceCollapse = 25;

/** Linux's `madvise`; null elsewhere, and with a C library of another name. */
function adviser(koffi: Koffi): koffiTypes.KoffiFunc<(from: bigint, bytes: bigint, advice: number) => number> | null {
  if (process.platform !== 'linux') return null;
  try {
    return koffi.load('libc.so.6').func('int madvise(void *from, size_t bytes, int advice)');
  } catch {
    return null;
  }
}

/** `M_MMAP_THRESHOLD`, and with what it begins: only because it is set it does not grow with every large block that is freed. */
const mmapThreshold = -3;
const largeBlock = 1 << 17;

/** glibc's `mallopt`; null with another C library. */
function allocationSetter(koffi: Koffi): ((parameter: number, value: number) => number) | null {
  if (process.platform !== 'linux') return null;
  try {
    return koffi.load('libc.so.6').func('int mallopt(int parameter, int value)');
  } catch {
    return null;
  }
}

function load(koffi: Koffi, folder: string, pattern: RegExp): { file: string; handle: ReturnType<Koffi['load']> } {
  const name = readdirSync(folder).find((file) => pattern.test(file));
  const file = path.join(folder, name ?? 'ggml');
  try {
    if (name === undefined) throw new Error('there is no such file');
    return { file, handle: koffi.load(file) };
  } catch (cause) {
    throw userError(
      'device',
      `${file} cannot be loaded: ${cause instanceof Error ? cause.message : String(cause)}.`,
      `Install ${packageName() ?? 'ggml'} in version ${packageVersion} anew.`,
      cause,
    );
  }
}
