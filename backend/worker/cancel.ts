/**
 * Cancelling across threads. What computes blocks its thread's event loop, so a cancel message would wait; a flag in shared memory can
 * be read between two steps.
 */

export const newCancelFlag = (): SharedArrayBuffer => new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);

export function setCancelFlag(flag: SharedArrayBuffer, cancelled: boolean): void {
  Atomics.store(new Int32Array(flag), 0, Number(cancelled));
}

/**
 * A signal whose `aborted` and `throwIfAborted` see the flag at once. Its listeners run when `abort` of the result is called (a message
 * arrived), or when `aborted` is read after the flag was set.
 */
export function flaggedSignal(flag: SharedArrayBuffer): { signal: AbortSignal; abort: () => void } {
  const controller = new AbortController();
  const cell = new Int32Array(flag);
  const { signal } = controller;
  let aborted = false;
  const abort = (): void => {
    if (aborted) return;
    aborted = true;
    controller.abort();
  };
  const look = (): boolean => {
    if (Atomics.load(cell, 0) === 1) abort();
    return aborted;
  };
  Object.defineProperty(signal, 'aborted', { get: look });
  Object.defineProperty(signal, 'throwIfAborted', {
    value: () => {
      if (look()) throw signal.reason;
    },
  });
  return { signal, abort };
}
