/**
 * Memory for matrices between reading and repacking, reused for the next: the system provides fresh memory page by page, which takes longer
 * than reading. Knows no matrices.
 */
import { MessageChannel } from 'node:worker_threads';
import type { Allocate } from '../system/files.ts';

export interface Staging {
  /** Memory for one matrix, until it is released. */
  open(): Stage;
  /** Frees the pieces that are not in use at once, without waiting for the garbage collector. */
  dispose(): void;
}

export interface Stage {
  readonly allocate: Allocate;
  /** What was allocated may be taken by others. */
  release(): void;
}

/** Least bytes of a piece, so that it fits most matrices. The system provides its memory only as it is written. */
const pieceBytes = 1 << 24;

export function newStaging(): Staging {
  const spare: ArrayBuffer[] = [];
  const take = (bytes: number): ArrayBuffer => {
    const fitting = spare.findIndex((piece) => piece.byteLength >= bytes);
    return fitting < 0 ? new ArrayBuffer(Math.max(bytes, pieceBytes)) : spare.splice(fitting, 1)[0]!;
  };
  return {
    open() {
      const taken: ArrayBuffer[] = [];
      return {
        allocate(bytes) {
          const piece = take(bytes);
          taken.push(piece);
          return new Uint8Array(piece, 0, bytes);
        },
        release: () => void spare.push(...taken.splice(0)),
      };
    },
    dispose() {
      // A message that is never received is freed with what was handed over in it.
      const { port1, port2 } = new MessageChannel();
      port1.postMessage(null, spare.splice(0));
      port1.close();
      port2.close();
    },
  };
}
