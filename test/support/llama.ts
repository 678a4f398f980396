/** llama.cpp itself, from the libraries that lie beside ggml's: its tokens and its greedy text, to compare with. */
import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import type * as koffiTypes from 'koffi';
import { openLibrary } from '../../backend/ggml/library.ts';
import { libraryFolder } from '../../backend/ggml/packages.ts';

export interface Llama {
  /** Ids of a text; special tokens in it are plain text unless `special`. */
  readonly tokenize: (text: string, special?: boolean) => number[];
  /** Of filling in the middle; −1 if the model has none. */
  readonly fim: Readonly<Record<'pre' | 'suf' | 'mid' | 'rep' | 'sep', number>>;
  /** The most probable continuation. */
  greedy(prompt: readonly number[], tokens: number): number[];
  /** Logits behind the last token. */
  logits(prompt: readonly number[]): Float32Array;
}

export const hasLlama = (): boolean => process.arch === 'x64' && llamaFile() !== null;

function llamaFile(): string | null {
  const folder = libraryFolder();
  const name = folder && readdirSync(folder).find((file) => /^(lib)?llama(\.v[\w.]+)?\.(so|dylib|dll)$/.test(file));
  return folder && name ? path.join(folder, name) : null;
}

type Pointer = bigint;

let isDeclared = false;

/** Records by the names of the prototypes below; a name is given once. */
function declareRecords(koffi: typeof koffiTypes): void {
  if (isDeclared) return;
  isDeclared = true;
  // Parameters are passed by value behind all others, so a record longer than the library's own holds them.
  koffi.struct('llama_parameters', { words: koffi.array('uint64_t', 32) });
  const pointers = ['token', 'embd', 'pos', 'counts', 'sequences', 'logits'].map((name) => [name, 'void *']);
  koffi.struct('llama_batch', { n: 'int32_t', ...(Object.fromEntries(pointers) as Record<string, string>) });
}

/** Opens a GGUF file. Never closed: a test's process ends soon. */
export function openLlama(file: string): Llama {
  const koffi = createRequire(import.meta.url)('koffi') as typeof koffiTypes;
  openLibrary(libraryFolder()!).loadAll(libraryFolder()!);
  const library = koffi.load(llamaFile());
  declareRecords(koffi);
  const f = (prototype: string): ((...values: unknown[]) => unknown) => library.func(prototype);
  f('void llama_log_set(void *callback, void *user)')(koffi.address(library.symbol('llama_time_us', 'void')), null);
  f('void llama_backend_init()')();
  const model = f('void *llama_model_load_from_file(const char *path, llama_parameters p)')(
    file,
    f('llama_parameters llama_model_default_params()')(),
  ) as Pointer | null;
  if (!model) throw new Error(`llama.cpp does not open ${file}.`);
  const vocab = f('void *llama_model_get_vocab(void *model)')(model) as Pointer;
  const tokenizeText = f(
    'int llama_tokenize(void *vocab, const char *text, int length, void *into, int most, bool special, bool parse)',
  );
  const context = f('void *llama_init_from_model(void *model, llama_parameters p)')(
    model,
    f('llama_parameters llama_context_default_params()')(),
  ) as Pointer;
  // Its threads wait for each other awake: more than there is room for take minutes.
  f('void llama_set_n_threads(void *context, int threads, int batch)')(context, 1, 1);
  const memory = f('void *llama_get_memory(void *context)')(context);
  const clear = f('void llama_memory_clear(void *memory, bool data)');
  const batchOf = f('llama_batch llama_batch_get_one(void *tokens, int count)');
  const decode = f('int llama_decode(void *context, llama_batch batch)');
  const logitsAt = f('void *llama_get_logits_ith(void *context, int at)');
  const vocabulary = f('int llama_vocab_n_tokens(void *vocab)')(vocab) as number;
  const step = (ids: readonly number[]): Float32Array => {
    const tokens = Int32Array.from(ids);
    const status = decode(context, batchOf(tokens, ids.length));
    if (status !== 0) throw new Error(`llama_decode answered ${String(status)}.`);
    return Float32Array.from(
      koffi.decode(logitsAt(context, -1), koffi.array('float', vocabulary)) as ArrayLike<number>,
    );
  };
  const logits = (prompt: readonly number[]): Float32Array => {
    clear(memory, true);
    return step(prompt);
  };
  const fimId = (name: string): number => f(`int llama_vocab_fim_${name}(void *vocab)`)(vocab) as number;
  return {
    tokenize(text, special = false) {
      const bytes = Buffer.byteLength(text);
      const into = new Int32Array(bytes + 8);
      const count = tokenizeText(vocab, text, bytes, into, into.length, false, special) as number;
      return Array.from(into.subarray(0, count));
    },
    fim: { pre: fimId('pre'), suf: fimId('suf'), mid: fimId('mid'), rep: fimId('rep'), sep: fimId('sep') },
    logits,
    greedy(prompt, tokens) {
      const written: number[] = [];
      let next = argmax(logits(prompt));
      while (written.push(next) < tokens) next = argmax(step([next]));
      return written;
    },
  };
}

const argmax = (values: Float32Array): number =>
  values.reduce((best, value, i) => (value > values[best]! ? i : best), 0);
