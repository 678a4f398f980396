/**
 * Memory for tensors that are made one by one and freed together: few large buffers instead of one each, so that the system can put them
 * into large pages; on a card, which allocates a whole buffer at once, buffers as small as possible. Knows no weights.
 */
import type { Address, Buffer, BufferType, Tensor } from './library.ts';
import type { Processor } from './processor.ts';

export interface Arena {
  /** Gives a tensor its memory; false if there is none. */
  place(tensor: Tensor, bufferType: BufferType): boolean;
  dispose(): void;
}

/** Least bytes of a buffer. The system provides its memory only as it is written. */
const bufferBytes = 1 << 26;
/** On a card a buffer of this size is shared by tensors that are smaller than half of it; others have one of their size. */
const cardBytes = 1 << 23;

interface Part {
  readonly buffer: Buffer;
  /** Its address. */
  readonly from: bigint;
  readonly size: number;
  used: number;
}

/** `usage`: `enum ggml_backend_buffer_usage`. */
export function newArena(processor: Processor, usage: number): Arena {
  const { library } = processor;
  const parts: Part[] = [];
  /** Those that have room. */
  const shared = new Map<BufferType, Part[]>();
  const open = (bufferType: BufferType, size: number): Part | null => {
    const buffer = library.newBuffer(bufferType, size);
    if (buffer === null) return null;
    library.markWeights(buffer, usage);
    const part = { buffer, from: library.bufferBase(buffer), size, used: 0 };
    parts.push(part);
    return part;
  };
  return {
    place(tensor, bufferType) {
      const step = library.placeStep(bufferType);
      const bytes = Math.ceil(library.placeBytes(bufferType, tensor) / step) * step;
      const known = shared.get(bufferType) ?? [];
      let part = known.find(({ size, used }) => size - used >= bytes) ?? null;
      if (part === null) {
        const isOwn = processor.isGpu && bytes > cardBytes / 2;
        part = open(bufferType, isOwn ? bytes : Math.max(bytes, processor.isGpu ? cardBytes : bufferBytes));
        if (part === null) return false;
        if (!isOwn) shared.set(bufferType, [part, ...known]);
      }
      library.placeTensor(part.buffer, tensor, (part.from + BigInt(part.used)) as Address);
      part.used += bytes;
      processor.largePages?.add(part);
      return true;
    },
    dispose() {
      for (const part of parts.splice(0)) {
        processor.largePages?.remove(part);
        library.freeBuffer(part.buffer);
      }
      shared.clear();
    },
  };
}
