/**
 * The program that finds graphics cards through ggml, in a process of its own: it opens each card, multiplies on it and reports its memory.
 * A driver that fails an assertion ends only that process.
 */
import { nativePackage } from '../system/installed.ts';
import { libraryFolder } from './packages.ts';

export interface SeenGpu {
  /** ggml's name, such as `Vulkan0`. */
  readonly name: string;
  /** Such as `NVIDIA GeForce RTX 4090`. */
  readonly description: string;
  /** Bytes. */
  readonly free: number;
  readonly total: number;
  /** Shares the memory of the processor, and counts all of it as its own. */
  readonly integrated: boolean;
}

/** The program's input; null if ggml is not installed. `file`: the library beside ggml's own, null for none. */
export function gpuProbeInput(file: string | null): unknown {
  const [folder, koffi] = [libraryFolder(), nativePackage('koffi')];
  return folder && koffi && { koffi, folder, file };
}

/** Calls `report` with what it found: `SeenGpu[]`. CommonJS, with `input` as above. */
export const gpuProbeProgram = `
  const koffi = require(input.koffi);
  const { readdirSync } = require('node:fs');
  const load = (pattern) =>
    koffi.load(require('node:path').join(input.folder, readdirSync(input.folder).find((file) => pattern.test(file))));
  const base = load(/^(lib)?ggml-base\\b.*\\.(so|dylib|dll)$/);
  const top = load(/^(lib)?ggml(\\.[\\w.]+)?\\.(so|dylib|dll)$/);
  if (input.file === null) top.func('void ggml_backend_load_all_from_path(const char *dir)')(input.folder);
  else if (!top.func('void *ggml_backend_load(const char *file)')(input.file))
    return report({ problem: 'its library cannot be loaded, or finds no driver' });
  koffi.struct('ggml_init_params', { mem_size: 'size_t', mem_buffer: 'void *', no_alloc: 'bool' });
  const init = base.func('void *ggml_init(ggml_init_params p)');
  const matrix = base.func('void *ggml_new_tensor_2d(void *c, int type, int64_t a, int64_t b)');
  const product = base.func('void *ggml_mul_mat(void *c, void *a, void *b)');
  const newGraph = base.func('void *ggml_new_graph(void *c)');
  const expand = base.func('void ggml_build_forward_expand(void *g, void *t)');
  const allocate = base.func('void *ggml_backend_alloc_ctx_tensors_from_buft(void *c, void *t)');
  const bufferType = base.func('void *ggml_backend_dev_buffer_type(void *d)');
  const set = base.func('void ggml_backend_tensor_set(void *t, void *data, size_t offset, size_t size)');
  const get = base.func('void ggml_backend_tensor_get(void *t, void *data, size_t offset, size_t size)');
  const compute = base.func('int ggml_backend_graph_compute(void *b, void *g)');
  const open = base.func('void *ggml_backend_dev_init(void *d, const char *p)');
  const type = base.func('int ggml_backend_dev_type(void *d)');
  const nameOf = base.func('const char *ggml_backend_dev_name(void *d)');
  const describe = base.func('const char *ggml_backend_dev_description(void *d)');
  const memory = base.func('void ggml_backend_dev_memory(void *d, void *free, void *total)');
  const F32 = 0, F16 = 1;
  /** Weights of 16 bits, as most are, which some drivers in software cannot store. */
  const problemOf = (device) => {
    const backend = open(device, null);
    if (!backend) return 'cannot be opened';
    const context = init({ mem_size: 1 << 20, mem_buffer: null, no_alloc: true });
    const [w, x] = [matrix(context, F16, 32, 2), matrix(context, F32, 32, 1)];
    const y = product(context, w, x);
    const graph = newGraph(context);
    expand(graph, y);
    if (!allocate(context, bufferType(device))) return 'has no memory left';
    set(w, new Uint16Array(64).fill(0x3c00, 0, 32).fill(0x4000, 32), 0, 128);
    set(x, Float32Array.from({ length: 32 }, (_, i) => i), 0, 128);
    if (compute(backend, graph) !== 0) return 'cannot compute';
    const sums = new Float32Array(2);
    get(y, sums, 0, 8);
    return sums[0] === 496 && sums[1] === 992 ? null : 'computes wrong numbers';
  };
  const found = [];
  let problem = null;
  const count = Number(top.func('size_t ggml_backend_dev_count()')());
  const device = top.func('void *ggml_backend_dev_get(size_t i)');
  for (let i = 0; i < count; i++) {
    const each = device(i);
    if (type(each) !== 1 && type(each) !== 2) continue;
    const wrong = problemOf(each);
    if (wrong) {
      problem ??= describe(each) + ' ' + wrong;
      continue;
    }
    const [free, total] = [new BigUint64Array(1), new BigUint64Array(1)];
    memory(each, free, total);
    const integrated = type(each) === 2;
    found.push({ name: nameOf(each), description: describe(each), free: Number(free[0]), total: Number(total[0]), integrated });
  }
  report(problem && found.length === 0 ? { problem } : { found });`;
