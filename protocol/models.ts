/** Models that can be chosen: those on this machine, and those worth downloading to it. Knows no files. */

/** A model that another program, or we, have downloaded. */
export interface MachineModel {
  cache: 'huggingface' | 'ollama' | 'lm-studio' | 'llama.cpp' | 'early-exit';
  name: string;
  /** What the setting takes. */
  reference: string;
  bytes: number;
  /** Type of its weights; empty if unknown. */
  type: string;
  /** Why it cannot be used, as a sentence; null if it is complete. */
  problem: string | null;
}

/** What a search of the hub finds, and what of it can be downloaded. */
export interface HubModel {
  name: string;
  downloads: number;
}
export interface HubChoice {
  reference: string;
  bytes: number;
  type: string;
}

export interface DownloadProgress {
  reference: string;
  done: number;
  total: number;
}

/** An id of the hub: `owner/name[@revision][:file.gguf]`. */
const hubId = /^[\w-][\w.-]*\/([\w-][\w.-]*)(?:@[^:@]+)?(?::([^:]+))?$/;

/** Whether a text can name a model of the hub; one that ends like a GGUF file is a path. */
export function isHubId(text: string): boolean {
  const [, name, file] = hubId.exec(text) ?? [];
  return name !== undefined && (file !== undefined || !/\.gguf$/i.test(name));
}

/** A model's name as checkpoints record it: the last part of its path, or of its hub id without the revision. */
export function modelBase(model: string): string {
  const [, name, file] = hubId.exec(model) ?? [];
  return (file ?? name ?? model).replace(/[/\\]+$/, '').replace(/^.*[/\\]/, '');
}

/** Memory of a model besides its weights: for texts, and for computing. */
const besideWeights = 500e6;
/** The rest is for the editor and other programs. */
const mostOfMemory = 0.7;

/** Whether weights of this size run in a machine's memory. */
export const fitsMemory = (bytes: number, memoryBytes: number): boolean =>
  bytes * 1.1 + besideWeights <= mostOfMemory * memoryBytes;

export interface Recommended {
  readonly reference: string;
  readonly name: string;
  /** About. */
  readonly bytes: number;
  readonly use: 'completions' | 'chat';
}

/** Small, and good at what they are for; the completions' models have tokens for filling in the middle. */
const candidates: readonly Recommended[] = [
  ...(
    [
      ['0.5B', 'q8_0', 0.53e9],
      ['1.5B', 'q4_k_m', 1.12e9],
      ['3B', 'q4_k_m', 2.1e9],
      ['7B', 'q4_k_m', 4.68e9],
    ] as const
  ).map(([size, type, bytes]) => ({
    reference: `Qwen/Qwen2.5-Coder-${size}-Instruct-GGUF:qwen2.5-coder-${size.toLowerCase()}-instruct-${type}.gguf`,
    name: `Qwen2.5-Coder ${size}`,
    bytes,
    use: 'completions' as const,
  })),
  {
    reference: 'HuggingFaceTB/SmolLM2-135M-Instruct',
    name: 'SmolLM2 135M',
    bytes: 0.27e9,
    use: 'chat',
  },
  {
    reference: 'Qwen/Qwen2.5-1.5B-Instruct-GGUF:qwen2.5-1.5b-instruct-q4_k_m.gguf',
    name: 'Qwen2.5 1.5B',
    bytes: 1.12e9,
    use: 'chat',
  },
  {
    reference: 'Qwen/Qwen2.5-3B-Instruct-GGUF:qwen2.5-3b-instruct-q4_k_m.gguf',
    name: 'Qwen2.5 3B',
    bytes: 2.1e9,
    use: 'chat',
  },
];

/** For each use the models that run in this amount of memory, the fastest first; always the smallest. */
export function recommendedFor(memoryBytes: number): readonly Recommended[] {
  return (['completions', 'chat'] as const).flatMap((use) => {
    const all = candidates.filter((each) => each.use === use);
    const fitting = all.filter(({ bytes }) => fitsMemory(bytes, memoryBytes));
    return fitting.length > 0 ? fitting : all.slice(0, 1);
  });
}

/** Two small ones that are better than the model that ships: the first for code, the second for chats. */
export function betterModels(): readonly [Recommended, Recommended] {
  const smallest = (use: Recommended['use']): Recommended => candidates.find((each) => each.use === use)!;
  return [smallest('completions'), smallest('chat')];
}

/** Megabits a second that a connection is taken to have. */
const usualConnection = 100;

/** About how many minutes a download takes on a usual connection, at least one. */
export const fetchMinutes = (bytes: number): number =>
  Math.max(1, Math.round((8 * bytes) / 1e6 / usualConnection / 60));
